<?php

/**
 * Ties Roundcube to the portal, where members sign in.
 *
 * Roundcube 1.6 gets its token there by itself. What it lacks is here:
 * - a member whose token no longer opens the mailbox (signed out at the portal, suspended) is out of every page at once;
 * - signing out here signs out at the portal;
 * - no other way in: neither the password form's request, nor an answer of the portal that this browser did not ask for;
 * - the member's addresses are the identities, and no other; the member's language is the first one;
 * - tokens are kept encrypted only.
 *
 * And it mends what keeps people from using the pages: perron.js, perron.css.
 */
class perron extends rcube_plugin
{
    /** @var array What the portal says of the member who is signing in */
    private $claims = [];

    /** @var string What tells the portal who is signing out */
    private $id_token = '';

    public function init()
    {
        $this->add_hook('startup', [$this, 'startup']);
        $this->add_hook('unauthenticated', [$this, 'unauthenticated']);
        $this->add_hook('oauth_login', [$this, 'oauth_login']);
        $this->add_hook('oauth_refresh_token', [$this, 'oauth_refresh_token']);
        $this->add_hook('user_create', [$this, 'user_create']);
        $this->add_hook('login_after', [$this, 'login_after']);
        $this->add_hook('identity_form', [$this, 'new_identity']);
        $this->add_hook('identity_create', [$this, 'new_identity']);
        $this->add_hook('logout_after', [$this, 'logout_after']);
        $this->add_hook('render_page', [$this, 'render_page']);
        rcmail::get_instance()->output->add_label('actions', 'delete');
        $this->include_script('perron.js');
        $this->include_stylesheet('perron.css');
    }

    /**
     * Pages may be enlarged on a phone, too.
     */
    public function render_page($args)
    {
        $args['content'] = str_replace(', maximum-scale=1.0', '', $args['content']);

        return $args;
    }

    public function startup($args)
    {
        $rcmail = rcmail::get_instance();

        // Whoever asked twice before signing in is answered on the first question, of which Roundcube has forgotten the state
        if (empty($_SESSION['user_id']) && !empty($_SESSION['oauth_state'])) {
            $states = array_slice(array_merge([$_SESSION['oauth_state']], $_SESSION['perron_states'] ?? []), 0, 10);
            $_SESSION['perron_states'] = array_unique($states);
            if (in_array($_GET['state'] ?? '', $states, true)) {
                $_SESSION['oauth_state'] = $_GET['state'];
            }
        }

        if ($args['task'] == 'login') {
            if ($args['action'] == 'login') {
                $args['action'] = ''; // there are no passwords here
            }
            // Roundcube compares the state, but only if there is one to compare with
            if ($args['action'] == 'oauth' && isset($_GET['code']) && empty($_SESSION['oauth_state'])) {
                $args['action'] = '';
                $rcmail->output->show_message('oauthloginfailed', 'warning');
                $rcmail->plugins->exec_hook('login_failed', []); // and not at once to the portal again: no loop
            }
        }
        elseif ($args['task'] == 'logout') {
            $this->id_token = (string) $rcmail->decrypt($_SESSION['perron_id_token'] ?? '');
        }
        elseif (!empty($_SESSION['user_id']) && $rcmail->session->check_auth() && $this->refused()) {
            $rcmail->kill_session();
            $this->begin_again();
        }

        return $args;
    }

    /**
     * The mail server has the token judged each time, so it knows who is signed in. That it cannot be asked, or cannot ask
     * the portal or the directory, is no reason to sign anybody out: the page itself says that mail is not there.
     */
    private function refused()
    {
        $rcmail = rcmail::get_instance();
        $storage = $rcmail->get_storage();
        $undecided = false;
        // Why is in its last challenge (RFC 7628), which Roundcube shows to whoever debugs only
        $storage->conn->setDebug(true, function ($connection, $line) use (&$undecided) {
            if (preg_match('/ S: \+ (\S{8,})$/', trim($line), $found)) {
                $undecided = (json_decode(base64_decode($found[1]), true)['status'] ?? null) == 500;
            }
        });
        $connected = $rcmail->storage_connect();
        $storage->conn->setDebug(false);

        return !$connected && !$undecided && strpos((string) $storage->get_error_str(), '[AUTHENTICATIONFAILED]') !== false;
    }

    /**
     * An expired session needs no explanation: the portal knows whether to ask for the password.
     */
    public function unauthenticated($args)
    {
        if (($args['error'] ?? null) === 'sessionerror') {
            $this->begin_again();
        }

        return $args;
    }

    /**
     * To the portal, by way of a new session: what it answers is compared with what is kept there.
     */
    private function begin_again()
    {
        $output = rcmail::get_instance()->output;

        if (!$output->ajax_call && !$output->get_env('framed') && $_SERVER['REQUEST_METHOD'] == 'GET') {
            $output->redirect(['_task' => 'login', '_action' => 'oauth']);
        }
    }

    public function oauth_login($data)
    {
        $rcmail = rcmail::get_instance();
        $claims = is_array($data['identity'] ?? null) ? $data['identity'] : [];

        // The identity token need not have everything that is told on asking
        try {
            $answer = $rcmail->get_http_client(['timeout' => 10])->get($rcmail->config->get('oauth_identity_uri'), [
                'headers' => ['Authorization' => "{$data['token_type']} {$data['access_token']}", 'Accept' => 'application/json'],
            ]);
            $claims = array_merge($claims, (array) json_decode($answer->getBody(), true));
        } catch (Exception $e) {
            rcube::raise_error('The portal says nothing of the member: ' . $e->getMessage(), true);
        }

        $this->claims = $claims + ['id_token' => $data['id_token'] ?? ''];

        return $data;
    }

    public function oauth_refresh_token($data)
    {
        // it is kept, encrypted, as the session's password
        unset($_SESSION['oauth_token']['access_token']);

        return $data;
    }

    public function user_create($args)
    {
        $languages = rcmail::get_instance()->config->get('perron_languages');
        $own = strtolower(substr($this->claims['locale'] ?? '', 0, 2));

        $args['language'] = $languages[$own] ?? (in_array($args['language'], $languages) ? $args['language'] : reset($languages));
        $args['user_name'] = $this->claims['name'] ?? '';
        $args['email_list'] = $this->addresses() ?: $args['email_list'];

        return $args;
    }

    public function login_after($args)
    {
        $rcmail = rcmail::get_instance();
        $_SESSION['perron_id_token'] = $rcmail->encrypt($this->claims['id_token'] ?? '');
        unset($_SESSION['oauth_token']['access_token'], $_SESSION['perron_states']);

        if ($addresses = $this->addresses()) {
            $there = array_map('strtolower', array_column($rcmail->user->list_identities(), 'email', 'identity_id'));
            foreach (array_diff($addresses, $there) as $address) {
                $rcmail->user->insert_identity(['email' => $address, 'name' => $this->claims['name'] ?? '']);
            }
            foreach (array_diff($there, $addresses) as $id => $address) {
                $rcmail->user->delete_identity($id);
            }
        }

        return $args;
    }

    /**
     * One that the member adds is another name or signature of the first address. Roundcube would make an address of the
     * login and the mail server's name.
     */
    public function new_identity($args)
    {
        if (empty($args['record']['identity_id']) && empty($args['login'])) {
            $args['record']['email'] = rcmail::get_instance()->user->get_identity()['email'] ?? '';
        }

        return $args;
    }

    public function logout_after($args)
    {
        $rcmail = rcmail::get_instance();
        $hint = $this->id_token ? ['id_token_hint' => $this->id_token] : [];
        $rcmail->output->redirect($rcmail->config->get('perron_logout') . '?' . http_build_query($hint + [
            'post_logout_redirect_uri' => $rcmail->config->get('perron_url'),
        ]));
    }

    /**
     * @return string[] The member's addresses, the first one first
     */
    private function addresses()
    {
        return array_values(array_unique(array_map('strtolower', array_filter(
            array_merge([$this->claims['email'] ?? ''], (array) ($this->claims['aliases'] ?? []))
        ))));
    }
}
