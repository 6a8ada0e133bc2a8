#!/usr/bin/php
<?php
/* A stand-in of the Nextcloud server: its layout, the commands, pages and files that a host has to do with, over the real
   database, cache and web server. Nothing of what members do with it.

   nextcloud-server.php NAME VERSION FILE packs it as that version. In the archive this very file is lib/standin.php, and the
   pages are a line each that calls it. */

namespace StandIn;

const REQUIRED = ['ctype', 'curl', 'dom', 'gd', 'iconv', 'json', 'libxml', 'mbstring', 'openssl', 'pdo_pgsql', 'posix', 'redis',
    'SimpleXML', 'XMLReader', 'XMLWriter', 'zip', 'zlib', 'apcu', 'intl', 'bcmath', 'gmp', 'igbinary', 'imagick', 'session'];
const SHIPPED = ['app_api', 'dav', 'federation', 'files', 'files_sharing', 'firstrunwizard', 'logreader', 'nextcloud_announcements', 'support', 'survey_client',
    'theming', 'twofactor_totp', 'updatenotification', 'weather_status'];
// What is on by itself from a major version on, in one that is upgraded to it, too (the real one's with 33)
const ON_SINCE = ['twofactor_totp' => 34];
const PORTAL_SETTINGS = ['unique-uid' => 'uniqueUid', 'mapping-uid' => 'mappingUid', 'mapping-display-name' => 'mappingDisplayName',
    'mapping-email' => 'mappingEmail', 'mapping-quota' => 'mappingQuota', 'mapping-groups' => 'mappingGroups',
    'group-provisioning' => 'groupProvisioning', 'group-whitelist-regex' => 'groupWhitelistRegex',
    'send-id-token-hint' => 'sendIdTokenHint', 'check-bearer' => 'checkBearer'];
const FLAGS = ['uniqueUid', 'groupProvisioning', 'sendIdTokenHint', 'checkBearer'];

class Refusal extends \Exception
{
}

// --- the archive --------------------------------------------------------------------------------------------------------

function pack_as(string $version, string $file): int
{
    $tree = exec('mktemp -d');
    $call = fn (string $what) => "<?php\nrequire __DIR__ . '/lib/standin.php';\nStandIn\\$what;\n";
    $major = (int)$version;
    $files = [
        'lib/standin.php' => preg_replace('/^#!.*\n/', '', file_get_contents(__FILE__)),
        'version.php' => '<?php $OC_Version = [' . strtr($version, '.', ',') . ",1]; \$OC_VersionString = '$version';"
            . ' $OC_VersionCanBeUpgradedFrom = [' . "'nextcloud' => ['" . ($major - 1) . ".0' => true, '$major.0' => true]];\n",
        'occ' => "#!/usr/bin/env php\n<?php\nrequire_once __DIR__ . '/console.php';\n",
        'console.php' => $call('console()'),
        'cron.php' => $call('cron()'),
        'index.php' => $call("page('index')"),
        'public.php' => $call("page('public')"),
        'remote.php' => $call("page('remote')"),
        'status.php' => $call("page('status')"),
        'ocs/v1.php' => "<?php\nrequire __DIR__ . '/../lib/standin.php';\nStandIn\\page('ocs');\n",
        'ocs/v2.php' => "<?php\nrequire __DIR__ . '/../lib/standin.php';\nStandIn\\page('ocs');\n",
        'ocs-provider/index.php' => "<?php\nheader('Content-Type: application/json');\necho '{\"version\":2,\"services\":{}}';\n",
        '.stand-in' => '',
        '.htaccess' => "# for Apache\n",
        '.user.ini' => "; for CGI\n",
        'robots.txt' => "User-agent: *\nDisallow: /\n",
        'core/css/server.css' => "body {}\n",
        'core/img/logo/logo.svg' => "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n",
        'dist/core-common.mjs' => "export {}\n",
        '3rdparty/composer.json' => "{}\n",
        'config/config.sample.php' => "<?php\n",
        'updater/index.php' => "<?php\n",
    ];
    foreach (SHIPPED as $app) {
        $files["apps/$app/appinfo/info.xml"] = "<info><id>$app</id><version>$version</version></info>\n";
    }
    foreach ($files as $name => $content) {
        @mkdir(dirname("$tree/nextcloud/$name"), 0755, true);
        file_put_contents("$tree/nextcloud/$name", $content);
    }
    chmod("$tree/nextcloud/occ", 0755);
    passthru('tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=go=rX --auto-compress --create --file '
        . escapeshellarg($file) . ' --directory ' . escapeshellarg($tree) . ' nextcloud && rm -r ' . escapeshellarg($tree), $code);
    return $code;
}

// --- configuration ------------------------------------------------------------------------------------------------------

function config_directory(): string
{
    return rtrim(getenv('NEXTCLOUD_CONFIG_DIR') ?: dirname(__DIR__) . '/config', '/');
}

/** config.php, and over it what others have put beside it. */
function config(): array
{
    $all = [];
    $directory = config_directory();
    foreach ([...(is_file("$directory/config.php") ? ["$directory/config.php"] : []), ...glob("$directory/*.config.php")] as $file) {
        $CONFIG = [];
        include $file;
        $all = array_merge($all, $CONFIG);
    }
    return $all;
}

/** All of it goes into config.php, as Nextcloud does it. */
function write_config(array $config): void
{
    $file = config_directory() . '/config.php';
    if (!isset($config['version']) && !is_file(config_directory() . '/CAN_INSTALL')) {
        throw new Refusal('Configuration was not read or initialized correctly, not overwriting ' . $file);
    }
    if (@file_put_contents($file, "<?php\n\$CONFIG = " . var_export($config, true) . ";\n") === false) {
        throw new Refusal("Can't write into config directory!");
    }
    chmod($file, 0640);
}

function set_system(array $values): void
{
    write_config(array_filter(array_merge(config(), $values), fn ($value) => $value !== null));
}

function code_version(): string
{
    include dirname(__DIR__) . '/version.php';
    return implode('.', $OC_Version);
}

function database(?array $config = null): \PDO
{
    static $database;
    if (!$database || $config) {
        $config ??= config();
        $database = new \PDO("pgsql:host={$config['dbhost']};dbname={$config['dbname']}", $config['dbuser'], $config['dbpassword']);
    }
    return $database;
}

function query(string $statement, array $values = []): array
{
    $asked = database()->prepare($statement);
    $asked->execute($values);
    return $asked->fetchAll(\PDO::FETCH_NUM);
}

function app_values(): array
{
    $apps = [];
    foreach (query('SELECT appid, configkey, configvalue FROM oc_appconfig ORDER BY 1, 2') as [$app, $key, $value]) {
        $apps[$app][$key] = $value;
    }
    return $apps;
}

function set_app(string $app, string $key, ?string $value): void
{
    query('DELETE FROM oc_appconfig WHERE appid = ? AND configkey = ?', [$app, $key]);
    if ($value !== null) {
        query('INSERT INTO oc_appconfig VALUES (?, ?, ?)', [$app, $key, $value]);
    }
}

function app_info(string $app): ?\SimpleXMLElement
{
    $paths = array_column(config()['apps_paths'] ?? [], 'path') ?: [dirname(__DIR__) . '/apps'];
    foreach ($paths as $path) {
        if (is_file("$path/$app/appinfo/info.xml")) {
            return simplexml_load_file("$path/$app/appinfo/info.xml");
        }
    }
    return null;
}

function app_version(string $app): ?string
{
    $info = app_info($app);
    return $info ? (string)$info->version : null;
}

/** An app that the server brings says nothing of it. */
function goes_with(string $app, int $major): bool
{
    $needs = app_info($app)?->dependencies->nextcloud ?? null;
    return !$needs || (int)$needs['min-version'] <= $major && $major <= (int)$needs['max-version'];
}

function needs_upgrade(): bool
{
    $config = config();
    if (!($config['installed'] ?? false)) {
        return false;
    }
    if (version_compare($config['version'], code_version()) !== 0) {
        return true;
    }
    foreach (app_values() as $app => $values) {
        if (($values['enabled'] ?? 'no') !== 'no' && version_compare($values['installed_version'], app_version($app) ?? '0') < 0) {
            return true;
        }
    }
    return false;
}

function status(): array
{
    $config = config();
    return ['installed' => (bool)($config['installed'] ?? false), 'maintenance' => (bool)($config['maintenance'] ?? false),
        'needsDbUpgrade' => needs_upgrade(), 'version' => code_version(), 'versionstring' => preg_replace('/\.\d+$/', '', code_version()),
        'edition' => '', 'productname' => 'Nextcloud', 'extendedSupport' => false];
}

/** What Nextcloud looks at before each page and each command. */
function check_server(): void
{
    $missing = array_filter(REQUIRED, fn ($module) => !extension_loaded($module));
    if ($missing) {
        throw new Refusal('PHP module ' . implode(', ', $missing) . ' not installed.');
    }
    if (!is_writable(config_directory())) {
        throw new Refusal("Cannot write into \"config\" directory.");
    }
    $config = config();
    if (!($config['installed'] ?? false)) {
        return;
    }
    $data = $config['datadirectory'];
    if (!is_file("$data/.ncdata")) {
        throw new Refusal("Your data directory is invalid. Ensure there is a file called \".ncdata\" in the root of the data directory.");
    }
    if (substr(decoct(fileperms($data)), -1) !== '0') {
        @chmod($data, 0770);
        clearstatcache();
        if (substr(decoct(fileperms($data)), -1) !== '0') {
            throw new Refusal('Your data directory is readable by other people.');
        }
    }
}

/** The cache: signing in asks it, and what guards passwords. */
function cache(): ?\Redis
{
    $config = config();
    if (!isset($config['redis'])) {
        return null;
    }
    $cache = new \Redis();
    $cache->connect($config['redis']['host'], $config['redis']['port'], $config['redis']['timeout']);
    $cache->incr($config['instanceid'] . '/standin');
    return $cache;
}

function write_log(int $level, string $app, string $message): void
{
    $config = config();
    if ($level < ($config['loglevel'] ?? 2)) {
        return;
    }
    openlog($config['syslog_tag'] ?? 'Nextcloud', LOG_PID | LOG_CONS, LOG_USER);
    syslog([LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR, LOG_CRIT][$level], json_encode(['level' => $level, 'remoteAddr' => client(),
        'app' => $app, 'method' => $_SERVER['REQUEST_METHOD'] ?? '', 'url' => $_SERVER['REQUEST_URI'] ?? '--', 'message' => $message]));
}

// --- pages --------------------------------------------------------------------------------------------------------------

function from_proxy(): bool
{
    return in_array($_SERVER['REMOTE_ADDR'] ?? '', config()['trusted_proxies'] ?? [], true);
}

function client(): string
{
    $forwarded = explode(',', from_proxy() ? $_SERVER['HTTP_X_FORWARDED_FOR'] ?? '' : '');
    return trim($forwarded[0]) ?: $_SERVER['REMOTE_ADDR'] ?? '';
}

function page(string $name): void
{
    try {
        ini_set('display_errors', '0');
        check_server();
        answer($name, config());
    } catch (Refusal $refusal) {
        write_log(3, 'core', $refusal->getMessage());
        http_response_code(503);
        echo '<!doctype html><title>Error</title><p>', htmlspecialchars($refusal->getMessage());
    } catch (\Throwable $error) {
        write_log(3, 'index', get_class($error) . ': ' . $error->getMessage());
        http_response_code(500);
        echo '<!doctype html><title>Error</title><h2>Internal Server Error</h2>';
    }
}

function answer(string $name, array $config): void
{
    $host = (from_proxy() ? $_SERVER['HTTP_X_FORWARDED_HOST'] ?? '' : '') ?: $_SERVER['HTTP_HOST'];
    if (!in_array($host, $config['trusted_domains'], true)) {
        http_response_code(400);
        if ($name === 'status') {
            header('Content-Type: application/json');
            echo '{"error": "Trusted domain error.", "code": 15}';
        } else {
            echo '<!doctype html><title>Nextcloud</title><p>Access through untrusted domain';
        }
        return;
    }
    if ($name === 'status') {
        header('Content-Type: application/json');
        echo json_encode(status());
        return;
    }
    if ($config['maintenance'] ?? false or needs_upgrade()) {
        http_response_code(503);
        header('Retry-After: 120');
        header('X-Nextcloud-Maintenance-Mode: 1');
        echo '<!doctype html><title>Nextcloud</title><h2>Maintenance mode</h2>';
        return;
    }
    query('SELECT 1 FROM oc_appconfig');
    session_name($config['instanceid']);
    session_set_cookie_params(['secure' => true, 'httponly' => true, 'samesite' => 'Lax', 'path' => '/']);
    session_start();
    header("Content-Security-Policy: default-src 'none';base-uri 'none';frame-ancestors 'self'");
    $_SESSION['seen'] = time();
    if ($name === 'remote' || $name === 'ocs') {
        if (by_token()) {
            http_response_code(207);
            header('Content-Type: application/xml; charset=utf-8');
            echo '<?xml version="1.0"?><d:multistatus xmlns:d="DAV:"/>';
        }
        return;
    }
    $path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
    $path = preg_replace('#^/index\.php(?=/|$)#', '', $path) ?: '/';
    if (str_starts_with($path, '/apps/notify_push/') && (app_values()['notify_push']['enabled'] ?? 'no') !== 'no') {
        push_page(substr($path, strlen('/apps/notify_push/')));
        return;
    }
    $portal = query('SELECT id FROM oc_user_oidc_providers')[0][0] ?? null;
    $here = $_SESSION['member'] ?? null;
    if ($here && (!enabled($here) || !query('SELECT 1 FROM oc_user_oidc_sessions WHERE sid = ?', [$_SESSION['sid']]))) {
        $here = $_SESSION['member'] = null;
    }
    if (!$here && ($here = remembered())) {
        session_regenerate_id(true);
        [$_SESSION['member'], $_SESSION['sid'], $_SESSION['id_token']] = [$here, bin2hex(random_bytes(8)), ''];
        query('INSERT INTO oc_user_oidc_sessions VALUES (?, ?)', [$_SESSION['sid'], $here]);
    }
    if (preg_match('#^/apps/richdocuments/wopi/files/(\d+)#', $path, $file)) {
        wopi($file[1]);
    } elseif ($path === '/' && $here) {
        echo '<!doctype html><title>Nextcloud</title><header id="header"><a href="/logout" id="logout">Log out</a></header><main>',
            htmlspecialchars($here), '</main>';
    } elseif ($path === '/logout' && $here) {
        $told = provider_told($portal);
        query('DELETE FROM oc_user_oidc_sessions WHERE sid = ?', [$_SESSION['sid']]);
        header('Location: ' . ask_portal($told['discoveryEndpoint'])['end_session_endpoint'] . '?' . http_build_query(['client_id' =>
            $told['clientId'], 'id_token_hint' => $_SESSION['id_token'], 'post_logout_redirect_uri' => "https://$host/"]), true, 303);
        session_destroy();
    } elseif ($path === '/') {
        header('Location: /login', true, 302);
    } elseif ($path === '/login' && $portal && (app_values()['user_oidc']['allow_multiple_user_backends'] ?? '1') === '0') {
        header("Location: /apps/user_oidc/login/$portal", true, 303);
    } elseif ($path === "/apps/user_oidc/login/$portal") {
        cache();
        begin_sign_in(provider_told($portal), "https://$host/apps/user_oidc/code");
    } elseif ($path === '/apps/user_oidc/code') {
        end_sign_in(provider_told($portal), "https://$host/apps/user_oidc/code");
    } elseif ($path === '/apps/user_oidc/backchannel-logout/portal' && $_SERVER['REQUEST_METHOD'] === 'POST') {
        // the real one verifies the signature
        query('DELETE FROM oc_user_oidc_sessions WHERE sid = ?', [payload($_POST['logout_token'] ?? '')['sid'] ?? '']);
    } elseif ($path === '/login') {
        echo '<!doctype html><title>Login</title><form><input name="user"><input type="password" name="password"></form>';
    } else {
        http_response_code(404);
        echo '<!doctype html><title>Nextcloud</title><h2>Page not found</h2>';
    }
}

/** What richdocuments says of a document to whoever is an office: of the address first, then of the token. */
function wopi(string $file): void
{
    header('Content-Type: application/json');
    $own = app_values()['richdocuments'] ?? [];
    $allowed = array_filter(preg_split('/[\s,;|]+/', $own['wopi_allowlist'] ?? ''));
    if ($allowed && !in_array(inet_pton(client()), array_map('inet_pton', $allowed), true)) {
        write_log(1, 'richdocuments', 'WOPI request denied from ' . client() . ' as it does not match the configured ranges: '
            . implode(', ', $allowed));
    } elseif (($own['enabled'] ?? 'no') !== 'no' && ($own['standin_token'] ?? '') !== ''
        && hash_equals($own['standin_token'], (string)($_GET['access_token'] ?? ''))) {
        echo json_encode(['BaseFileName' => "$file.odt", 'Size' => 0, 'OwnerId' => 'nobody', 'UserId' => 'nobody']);
        return;
    }
    http_response_code(403);
    echo '[]';
}

/** The member whose program asks; or else it is told to sign in. No member has a password here, and programs of theirs have tokens. */
function by_token(): ?string
{
    $member = $_SERVER['PHP_AUTH_USER'] ?? '';
    if ($member) {
        cache();
        if (query('SELECT 1 FROM oc_authtoken WHERE uid = ? AND token = ?', [$member, token_hash($_SERVER['PHP_AUTH_PW'] ?? '')])
            && enabled($member)) {
            return $member;
        }
        write_log(2, 'core', "Login failed: $member (Remote IP: " . client() . ')');
    }
    http_response_code(401);
    header('WWW-Authenticate: Basic realm="Nextcloud", charset="UTF-8"');
    return null;
}

// --- notify_push --------------------------------------------------------------------------------------------------------

/** What its program asks. */
function push_page(string $what): void
{
    if ($what === 'uid') {
        echo by_token();
    } elseif ($what === 'test/version') {
        cache()->set('notify_push_app_version', app_version('notify_push'));
    } elseif (($_SERVER['HTTP_TOKEN'] ?? '') !== cache()->get('test-token')) {
        http_response_code(403);
    } else {
        echo $what === 'test/cookie' ? app_values()['notify_push']['cookie'] : client();
    }
}

/** occ notify_push:self-test, in the order and with the words of the real one. */
function push_test(string $server, callable $say): int
{
    if (!$server) {
        return 1 - $say('🗴 no push server configured');
    }
    [$token, $cookie] = [bin2hex(random_bytes(16)), random_int(1, 2 ** 30)];
    $ask = function (string $path, array $more = []) use ($server, $token): string {
        $asked = curl_init($server . $path);
        curl_setopt_array($asked, [CURLOPT_RETURNTRANSFER => true, CURLOPT_FAILONERROR => true, CURLOPT_TIMEOUT => 30,
            CURLOPT_SSL_VERIFYPEER => false, CURLOPT_HTTPHEADER => ["token: $token"]] + $more);
        $answer = curl_exec($asked);
        return $answer === false ? throw new Refusal("🗴 can't connect to push server: " . curl_error($asked)) : $answer;
    };
    $cache = cache();
    $cache->set('test-token', $token);
    $cache->publish('notify_test_cookie', (string)$cookie);
    set_app('notify_push', 'cookie', (string)$cookie);
    if (($got = $ask('/test/cookie')) !== (string)$cookie) {
        return 1 - $say("🗴 push server is not receiving redis messages (received $cookie, got $got)");
    }
    [[$storage, $count]] = query('SELECT storage_id, count(*) FROM oc_mounts JOIN oc_filecache ON root_id = fileid GROUP BY 1');
    if ($ask("/test/mapping/$storage") !== (string)$count) {
        return 1 - $say("🗴 push server can't load mount info from database");
    }
    if (($got = $ask('/test/reverse_cookie')) !== (string)$cookie) {
        return 1 - $say("🗴 push server can't connect to the Nextcloud server\n  $got");
    }
    if (($got = $ask('/test/remote/1.2.3.4')) !== '1.2.3.4') {
        return 2 - $say('🗴 push server is not a trusted proxy by Nextcloud or another proxy in the chain.'
            . "\n  Nextcloud resolved the following client address for the test request: \"$got\"");
    }
    $cache->del('notify_push_version');
    $ask('/test/version', [CURLOPT_POST => true, CURLOPT_POSTFIELDS => '']);
    [$runs, $is] = [(string)$cache->get('notify_push_version'), app_version('notify_push')];
    if (preg_replace('/\.\d+$/', '', $runs) !== preg_replace('/\.\d+$/', '', $is)) {
        return 1 - $say("🗴 push server (version $runs) is not the same version as the app (version $is).");
    }
    return $say('✓ push server is running the same version as the app');
}

// --- members ------------------------------------------------------------------------------------------------------------

function provider_told(int $id): array
{
    return json_decode(query('SELECT told FROM oc_user_oidc_providers WHERE id = ?', [$id])[0][0], true);
}

/** What the portal answers, as JSON; null if it does not. Nobody asks hosts of a private network, unless that is declared. */
function ask_portal(string $url, ?array $post = null): ?array
{
    $address = gethostbyname(parse_url($url, PHP_URL_HOST));
    $public = filter_var($address, FILTER_VALIDATE_IP, FILTER_FLAG_NO_PRIV_RANGE | FILTER_FLAG_NO_RES_RANGE);
    if (!$public && !(config()['allow_local_remote_servers'] ?? false)) {
        write_log(3, 'user_oidc', "Host \"$address\" violates local access rules");
        return null;
    }
    $asked = curl_init($url);
    curl_setopt_array($asked, [CURLOPT_RETURNTRANSFER => true, CURLOPT_FAILONERROR => true, CURLOPT_TIMEOUT => 10]
        + ($post ? [CURLOPT_POSTFIELDS => http_build_query($post)] : []));
    $answer = curl_exec($asked);
    if ($answer === false) {
        write_log(3, 'user_oidc', $url . ': ' . curl_error($asked));
    }
    return $answer === false ? null : json_decode($answer, true);
}

/** What a token says; the portal's own answer over TLS needs no look at its signature (OpenID Connect Core, 3.1.3.7). */
function payload(string $token): array
{
    return json_decode(base64_decode(strtr(explode('.', $token)[1] ?? '', '-_', '+/')), true) ?? [];
}

function begin_sign_in(array $told, string $back): void
{
    $portal = ask_portal($told['discoveryEndpoint']);
    if (!$portal) {
        http_response_code(404);
        echo '<!doctype html><title>Nextcloud</title><p>Could not reach the OpenID Connect provider.';
        return;
    }
    foreach (['state', 'nonce', 'verifier'] as $secret) {
        $_SESSION[$secret] = bin2hex(random_bytes(32));
    }
    header("Location: {$portal['authorization_endpoint']}?" . http_build_query(['client_id' => $told['clientId'], 'response_type' => 'code',
        'scope' => $told['scope'], 'redirect_uri' => $back, 'state' => $_SESSION['state'], 'nonce' => $_SESSION['nonce'],
        'code_challenge' => rtrim(strtr(base64_encode(hash('sha256', $_SESSION['verifier'], true)), '+/', '-_'), '='),
        'code_challenge_method' => 'S256']), true, 303);
}

function end_sign_in(array $told, string $back): void
{
    $known = isset($_SESSION['state']) && hash_equals($_SESSION['state'], $_GET['state'] ?? '');
    $tokens = $known ? ask_portal(ask_portal($told['discoveryEndpoint'])['token_endpoint'], ['grant_type' => 'authorization_code',
        'code' => $_GET['code'] ?? '', 'redirect_uri' => $back, 'client_id' => $told['clientId'], 'client_secret' => $told['clientSecret'],
        'code_verifier' => $_SESSION['verifier']]) : null;
    $says = payload($tokens['id_token'] ?? '');
    if (!$says || $says['nonce'] !== $_SESSION['nonce'] || !in_array($told['clientId'], (array)$says['aud'], true)) {
        http_response_code(403);
        echo '<!doctype html><title>Nextcloud</title><p>The received state does not match the expected value.';
        return;
    }
    $login = $says[$told['settings']['mappingUid']];
    if (!query('INSERT INTO oc_user_oidc (user_id, display_name) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING 1',
        [$login, $says[$told['settings']['mappingDisplayName']]]) && !enabled($login)) {
        http_response_code(403);
        echo '<!doctype html><title>Nextcloud</title><p>User disabled';
        return;
    }
    $quota = $says[$told['settings']['mappingQuota'] ?? ''] ?? null;
    if ($quota !== null) {
        prefer($login, 'files', 'quota', round($quota / 2 ** 30, 1) . ' GB');
    }
    if ($told['settings']['groupProvisioning'] ?? false) {
        $listed = fn (string $group) => preg_match(($told['settings']['groupWhitelistRegex'] ?? '') ?: '//', $group) === 1;
        foreach (array_filter(array_column(query('SELECT gid FROM oc_group_user WHERE uid = ?', [$login]), 0), $listed) as $group) {
            query('DELETE FROM oc_group_user WHERE gid = ? AND uid = ?', [$group, $login]);
        }
        foreach (array_filter($says[$told['settings']['mappingGroups']] ?? [], $listed) as $group) {
            query('INSERT INTO oc_groups VALUES (?, ?) ON CONFLICT DO NOTHING', [$group, $group]);
            query('INSERT INTO oc_group_user VALUES (?, ?)', [$group, $login]);
        }
    }
    session_regenerate_id(true);
    query('INSERT INTO oc_user_oidc_sessions VALUES (?, ?) ON CONFLICT DO NOTHING', [$says['sid'], $login]);
    [$_SESSION['member'], $_SESSION['sid'], $_SESSION['id_token']] = [$login, $says['sid'], $tokens['id_token']];
    // user_oidc remembers whoever signs in, as long as Nextcloud does
    prefer($login, 'login_token', $token = bin2hex(random_bytes(16)), (string)time());
    $age = config()['remember_login_cookie_lifetime'] ?? 15 * 86400;
    foreach (['nc_username' => $login, 'nc_token' => $token] as $name => $value) {
        setcookie($name, $value, ['expires' => $age > 0 ? time() + $age : 0, 'path' => '/', 'secure' => true, 'httponly' => true]);
    }
    header('Location: /', true, 303);
}

/** Whose cookie renews a session that is gone: the new one is none that the portal knows of. */
function remembered(): ?string
{
    [$login, $token] = [$_COOKIE['nc_username'] ?? '', $_COOKIE['nc_token'] ?? ''];
    return query("DELETE FROM oc_preferences WHERE userid = ? AND appid = 'login_token' AND configkey = ? RETURNING userid",
        [$login, $token])[0][0] ?? null;
}

function token_hash(string $token): string
{
    return hash('sha512', $token . config()['secret']);
}

function enabled(string $login): bool
{
    return !query("SELECT 1 FROM oc_preferences WHERE userid = ? AND appid = 'core' AND configkey = 'enabled' AND configvalue = 'false'", [$login]);
}

function prefer(string $login, string $app, string $key, string $value): void
{
    query('INSERT INTO oc_preferences VALUES (?, ?, ?, ?) ON CONFLICT (userid, appid, configkey) DO UPDATE SET configvalue = excluded.configvalue',
        [$login, $app, $key, $value]);
}

/** occ user:… and group:… */
function members_command(string $command, array $given, callable $say): int
{
    $group = str_starts_with($command, 'group:') ? $given[0] : null;
    $login = $given[$group === null ? 0 : 1] ?? null;
    if (!in_array($login, [null, 'admin'], true) && !query('SELECT 1 FROM oc_user_oidc WHERE user_id = ?', [$login])) {
        return 1 - $say($group === null && $command !== 'user:info' ? 'User does not exist' : 'user not found');
    }
    if ($group !== null && $command !== 'group:add' && !query('SELECT 1 FROM oc_groups WHERE gid = ?', [$group])) {
        return 1 - $say('group not found');
    }
    switch ($command) {
        case 'user:disable':
        case 'user:enable':
            prefer($login, 'core', 'enabled', $command === 'user:enable' ? 'true' : 'false');
            return $say('The specified user is ' . ($command === 'user:enable' ? 'enabled' : 'disabled'));
        case 'user:setting':
            prefer($login, $given[1], $given[2], $given[3]);
            return 0;
        case 'user:info':
            $prefers = array_column(query("SELECT appid || '.' || configkey, configvalue FROM oc_preferences WHERE userid = ?", [$login]), 1, 0);
            return $say(['user_id' => $login, 'email' => $prefers['settings.email'] ?? null, 'enabled' => enabled($login),
                'quota' => $prefers['files.quota'] ?? 'none',
                'groups' => array_column(query('SELECT gid FROM oc_group_user WHERE uid = ? ORDER BY gid', [$login]), 0)]);
        case 'user:delete':
            foreach (['oc_user_oidc' => 'user_id', 'oc_preferences' => 'userid', 'oc_group_user' => 'uid', 'oc_authtoken' => 'uid',
                'oc_user_oidc_sessions' => 'sub'] as $table => $column) {
                query("DELETE FROM $table WHERE $column = ?", [$login]);
            }
            exec('rm -rf ' . escapeshellarg(config()['datadirectory'] . "/$login"));
            return $say('The specified user was deleted');
        case 'user:export':
            if ((app_values()['user_migration']['enabled'] ?? 'no') === 'no') {
                return 1 - $say("Command \"$command\" is not defined.");
            }
            $archive = new \ZipArchive();
            $archive->open($file = "{$given[1]}/{$login}_" . date('Y-m-d_H-i-s') . '.zip', \ZipArchive::CREATE);
            $archive->addFromString('user.json', json_encode(['uid' => $login, 'enabled' => enabled($login)]));
            $home = config()['datadirectory'] . "/$login/files";
            $files = is_dir($home) ? new \RecursiveIteratorIterator(new \RecursiveDirectoryIterator($home, \FilesystemIterator::SKIP_DOTS)) : [];
            foreach ($files as $path => $_) {
                $archive->addFile($path, 'files/files' . substr($path, strlen($home)));
            }
            return $archive->close() ? $say("Export saved in $file") : 1;
        case 'user:auth-tokens:add':
            $token = bin2hex(random_bytes(36));
            query('INSERT INTO oc_authtoken (uid, token) VALUES (?, ?)', [$login, token_hash($token)]);
            return $say("app password:\n$token");
        case 'group:add':
            if (query('SELECT 1 FROM oc_groups WHERE gid = ?', [$group])) {
                return 1 - $say("Group \"$group\" already exists.");
            }
            query('INSERT INTO oc_groups VALUES (?, ?)', [$group, $group]);
            return $say("Created group \"$group\"");
        case 'group:adduser':
            query('INSERT INTO oc_group_user VALUES (?, ?) ON CONFLICT DO NOTHING', [$group, $login]);
            return 0;
        case 'group:removeuser':
            query('DELETE FROM oc_group_user WHERE gid = ? AND uid = ?', [$group, $login]);
            return 0;
        default:
            return 1 - $say("Command \"$command\" is not defined.");
    }
}

function cron(): void
{
    if (PHP_SAPI !== 'cli') {
        http_response_code(403);
        return;
    }
    run_as_owner();
    check_server();
    if (!needs_upgrade() && !(config()['maintenance'] ?? false)) {
        set_app('core', 'lastcron', (string)time());
    }
}

// --- commands -----------------------------------------------------------------------------------------------------------

function run_as_owner(): void
{
    $file = config_directory() . '/config.php';
    if (is_file($file) && fileowner($file) !== posix_getuid()) {
        echo "Console has to be executed with the user that owns the file config/config.php\n";
        exit(1);
    }
}

function console(): void
{
    try {
        run_as_owner();
        check_server();
        [, $command] = $_SERVER['argv'] + [1 => 'list'];
        exit(run($command, ...arguments(array_slice($_SERVER['argv'], 2))) & 255);
    } catch (Refusal $refusal) {
        echo $refusal->getMessage(), "\n";
    } catch (\Throwable $error) {
        echo 'An unhandled exception has been thrown:', "\n", get_class($error), ': ', $error->getMessage(), "\n";
    }
    exit(1);
}

/** @return array{0: list<string>, 1: array<string, string>} */
function arguments(array $words): array
{
    $flags = ['--no-interaction', '-n', '--private', '--on', '--off', '-e', '--no-warnings', '--include-expensive', '--force'];
    $short = ['-c' => 'clientid', '-s' => 'clientsecret', '-d' => 'discoveryuri', '-o' => 'scope', '-g' => 'groups'];
    $plain = $options = [];
    while ($words) {
        $word = array_shift($words);
        if (in_array($word, $flags, true)) {
            $options[ltrim($word, '-')] = '1';
        } elseif (isset($short[$word])) {
            $options[$short[$word]] = (string)array_shift($words);
        } elseif (str_starts_with($word, '--')) {
            [$name, $value] = explode('=', substr($word, 2), 2) + [1 => null];
            $options[$name] = $value ?? (string)array_shift($words);
        } else {
            $plain[] = $word;
        }
    }
    return [$plain, $options];
}

function run(string $command, array $given, array $options): int
{
    $config = config();
    $installed = $config['installed'] ?? false;
    $say = function (mixed $what) {
        echo is_string($what) ? $what : json_encode($what), "\n";
        return 0;
    };
    if ($command === 'status') {
        $status = status();
        $say($status);
        return ($options['e'] ?? '') ? ($status['needsDbUpgrade'] ? 2 : (int)$status['maintenance']) : 0;
    }
    if (!$installed) {
        return $command === 'maintenance:install' ? install($options)
            : 1 - $say("Nextcloud is not installed - only a limited number of commands are available\nCommand \"$command\" is not defined.");
    }
    $apps = fn () => app_values();
    // commands of apps are not there meanwhile, and where results are read it is not said
    if (!isset($options['no-warnings'])) {
        fwrite(STDERR, needs_upgrade() ? ($command === 'upgrade' ? '' : "Nextcloud or one of the apps require upgrade - only a limited number of commands are available\n")
            : (($config['maintenance'] ?? false) && $command !== 'maintenance:mode' ? "Nextcloud is in maintenance mode, no apps are loaded.\n" : ''));
    }
    $oidc = ($apps()['user_oidc']['enabled'] ?? 'no') !== 'no' && !needs_upgrade() && !($config['maintenance'] ?? false);
    switch ($command) {
        case 'upgrade':
            return upgrade($config, $apps());
        case 'maintenance:mode':
            set_system(['maintenance' => isset($options['on'])]);
            return $say('Maintenance mode ' . (isset($options['on']) ? 'enabled' : 'disabled'));
        case 'config:list':
            if (!isset($options['private'])) {
                foreach (['dbpassword', 'secret', 'passwordsalt'] as $secret) {
                    $config[$secret] = '***REMOVED SENSITIVE VALUE***';
                }
            }
            return $say(['system' => $config, 'apps' => $apps()]);
        case 'config:import':
            $new = json_decode((string)@file_get_contents($given[0] ?? 'php://stdin'), true);
            if (!is_array($new) || array_diff(array_keys($new), ['system', 'apps'])) {
                return 1 - $say('The file must contain a valid json array');
            }
            set_system($new['system'] ?? []);
            foreach ($new['apps'] ?? [] as $app => $values) {
                foreach ($values as $key => $value) {
                    set_app($app, $key, $value === null ? null : (string)$value);
                }
            }
            return $say('Config successfully imported from: ' . ($given[0] ?? ''));
        case 'config:system:set':
            set_system([$given[0] => match ($options['type'] ?? 'string') {
                'boolean' => $options['value'] === 'true',
                'integer' => (int)$options['value'],
                'json' => json_decode($options['value'], true),
                default => $options['value'],
            }]);
            return $say("System config value {$given[0]} set to string {$options['value']}");
        case 'config:system:get':
            return isset($config[$given[0]]) ? $say($config[$given[0]]) : 1;
        case 'config:system:delete':
            set_system([$given[0] => null]);
            return $say("System config value {$given[0]} deleted");
        case 'config:app:set':
            set_app($given[0], $given[1], $options['value']);
            return $say("Config value {$given[1]} for app {$given[0]} set to {$options['value']}");
        case 'config:app:get':
            return isset($apps()[$given[0]][$given[1]]) ? $say($apps()[$given[0]][$given[1]]) : 1;
        case 'app:enable':
            return max(array_map(fn ($app) => enable($app, $say), $given));
        case 'app:disable':
            foreach ($given as $app) {
                if (($apps()[$app]['enabled'] ?? 'no') !== 'no') {
                    set_app($app, 'enabled', 'no');
                }
                $say("$app disabled");
            }
            return 0;
        case 'app:list':
            $lists = ['enabled' => [], 'disabled' => []];
            foreach ($apps() as $app => $values) {
                if (isset($values['installed_version'])) {
                    $lists[$values['enabled'] === 'no' ? 'disabled' : 'enabled'][$app] = $values['installed_version'];
                }
            }
            return $say($lists);
        case 'user_oidc:provider':
            return $oidc ? provider($given, $options, $say) : 1 - $say('There are no commands defined in the "user_oidc" namespace.');
        case 'notify_push:self-test':
            return $oidc && ($apps()['notify_push']['enabled'] ?? 'no') !== 'no' ? push_test($apps()['notify_push']['base_endpoint'] ?? '', $say)
                : 1 - $say('There are no commands defined in the "notify_push" namespace.');
        case 'db:add-missing-columns':
        case 'db:add-missing-indices':
        case 'db:add-missing-primary-keys':
        case 'maintenance:repair':
            return $say('Done.');
        case 'setupchecks':
            return $say([]);
        case 'integrity:check-core':
            return $config['integrity.check.disabled'] ?? false ? 2 + $say('integrity:check-core can not be used on git checkouts') : $say([]);
        default:
            return $oidc ? members_command($command, $given, $say) : 1 - $say("Command \"$command\" is not defined.");
    }
}

function install(array $options): int
{
    foreach (['database-name', 'database-user', 'admin-pass', 'data-dir'] as $needed) {
        if (($options[$needed] ?? '') === '') {
            throw new Refusal("$needed not provided.");
        }
    }
    if (($options['database'] ?? '') !== 'pgsql') {
        throw new Refusal('Database is not supported.');
    }
    if (!is_dir($options['data-dir']) && !@mkdir($options['data-dir'], 0770) || !is_writable($options['data-dir'])) {
        throw new Refusal("Cannot create or write into the data directory {$options['data-dir']}");
    }
    $config = ['instanceid' => 'oc' . bin2hex(random_bytes(5)), 'passwordsalt' => bin2hex(random_bytes(15)),
        'secret' => bin2hex(random_bytes(24)), 'trusted_domains' => ['localhost'], 'datadirectory' => $options['data-dir'], 'dbtype' => 'pgsql',
        'version' => code_version(), 'dbname' => $options['database-name'], 'dbhost' => $options['database-host'],
        'dbuser' => $options['database-user'], 'dbpassword' => $options['database-pass'], 'dbtableprefix' => 'oc_'];
    write_config($config);
    $database = database($config);
    $database->exec('CREATE TABLE IF NOT EXISTS oc_appconfig (appid text, configkey text, configvalue text, PRIMARY KEY (appid, configkey));
        CREATE TABLE IF NOT EXISTS oc_user_oidc_providers (id serial PRIMARY KEY, identifier text UNIQUE, told text);
        CREATE TABLE IF NOT EXISTS oc_user_oidc (id serial PRIMARY KEY, user_id text UNIQUE, display_name text);
        CREATE TABLE IF NOT EXISTS oc_user_oidc_sessions (sid text PRIMARY KEY, sub text);
        CREATE TABLE IF NOT EXISTS oc_preferences (userid text, appid text, configkey text, configvalue text,
            PRIMARY KEY (userid, appid, configkey));
        CREATE TABLE IF NOT EXISTS oc_users (uid text PRIMARY KEY);
        CREATE TABLE IF NOT EXISTS oc_groups (gid text PRIMARY KEY, displayname text);
        INSERT INTO oc_groups VALUES (\'admin\', \'admin\') ON CONFLICT DO NOTHING;
        CREATE TABLE IF NOT EXISTS oc_group_user (gid text, uid text, PRIMARY KEY (gid, uid));
        CREATE TABLE IF NOT EXISTS oc_authtoken (id serial PRIMARY KEY, uid text, token text UNIQUE)');
    migrate((int)code_version(), 'IF NOT EXISTS');
    if (!query("INSERT INTO oc_users VALUES ('admin') ON CONFLICT DO NOTHING RETURNING 1")) {
        echo "Error while trying to create admin user: The Login is already being used\n";
        return 1;
    }
    file_put_contents($options['data-dir'] . '/.ncdata', "# Nextcloud data directory\n");
    install_shipped([]);
    set_app('core', 'installedat', (string)microtime(true));
    write_config($config + ['installed' => true]);
    @unlink(config_directory() . '/CAN_INSTALL');
    echo "Nextcloud was successfully installed\n";
    return 0;
}

/** The tables of a version: each major one has one more, and one more column of a table that all have. */
function migrate(int $major, string $unless = ''): void
{
    query("CREATE TABLE $unless oc_since_$major (id serial PRIMARY KEY, told text)");
    query("ALTER TABLE oc_appconfig ADD COLUMN $unless since_$major text");
}

/** Those that come with it and are on by themselves, unless they were ever on. */
function install_shipped(array $apps): void
{
    foreach (SHIPPED as $app) {
        if ((ON_SINCE[$app] ?? 0) <= (int)code_version() && !isset($apps[$app]['installed_version'])) {
            set_app($app, 'enabled', 'yes');
            set_app($app, 'installed_version', app_version($app));
        }
    }
}

/** It says what it does, each repair of an app draws how far it is on standard error, and what comes last is no failure's. */
function upgrade(array $config, array $apps): int
{
    $closed = $config['maintenance'] ?? false;
    if (!needs_upgrade()) {
        echo $closed ? "Nextcloud is in maintenance mode\nMaybe an upgrade is already in process.\n" : "Nextcloud is already latest version\n";
        return $closed ? 2 : 0;
    }
    set_system(['maintenance' => true]);
    echo "Setting log level to debug\n", $closed ? '' : "Turned on maintenance mode\n";
    [$was, $new] = [$config['version'], code_version()];
    try {
        if (version_compare($new, $was) < 0 || (int)$new > (int)$was + 1) {
            throw new \Exception('Updates between multiple major versions and downgrades are unsupported.');
        }
        echo "Updating database schema\n";
        if ((int)$new > (int)$was) {
            try {
                migrate((int)$new);
            } catch (\PDOException $error) {
                throw new \Exception('Database error when running migration ' . (int)$new . "000Date20260101000000 for app core\n"
                    . 'An exception occurred while executing a query: ' . $error->getMessage());
            }
        }
        echo "Updated database\n";
        foreach ($apps as $app => $values) {
            if (($values['enabled'] ?? 'no') === 'no') {
                continue;
            }
            if (!goes_with($app, (int)$new)) {
                set_app($app, 'enabled', 'no');
                echo "Disabled incompatible app: $app\n";
            } elseif (isset($values['installed_version']) && app_version($app)) {
                echo "Updating <$app> ...\n";
                set_app($app, 'installed_version', app_version($app));
                fwrite(STDERR, " Starting ...\n    0/0 [>---------------------------]   0% Starting ...\n    0/0 [->--------------------------]   0%\n");
                echo "Updated <$app> to ", app_version($app), "\n";
            }
        }
        install_shipped($apps);
    } catch (\Exception $error) {
        echo get_class($error), ': ', $error->getMessage(), "\nUpdate failed\nMaintenance mode is kept active\nResetting log level\n";
        return 5;
    }
    set_system(['version' => $new, 'maintenance' => $closed]);
    echo "Update successful\n", $closed ? 'Maintenance mode is kept active' : 'Turned off maintenance mode', "\nResetting log level\n";
    return 0;
}

function enable(string $app, callable $say): int
{
    $version = app_version($app);
    if ($version === null) {
        return 1 - $say("Could not download app $app, it was not found on the appstore");
    }
    if (!goes_with($app, (int)code_version())) {
        return 1 - $say("App \"$app\" cannot be installed because it is not compatible with this version of the server.");
    }
    if ($app === 'notify_push') { // somebody's files, as its test asks whose they are
        database()->exec('CREATE TABLE IF NOT EXISTS oc_mounts (storage_id int PRIMARY KEY, root_id int);
            CREATE TABLE IF NOT EXISTS oc_filecache (fileid int PRIMARY KEY);
            INSERT INTO oc_mounts VALUES (1, 1) ON CONFLICT DO NOTHING; INSERT INTO oc_filecache VALUES (1) ON CONFLICT DO NOTHING');
    }
    set_app($app, 'installed_version', $version);
    set_app($app, 'enabled', 'yes');
    return $say("$app $version enabled");
}

function provider(array $given, array $options, callable $say): int
{
    $told = json_decode(query('SELECT told FROM oc_user_oidc_providers WHERE identifier = ?', [$given[0]])[0][0] ?? 'null', true);
    unset($options['output'], $options['no-interaction']);
    if (!$options) {
        unset($told['clientSecret']);
        return $told ? $say($told) : 255 - $say('Provider not found');
    }
    $told ??= ['identifier' => $given[0], 'endSessionEndpoint' => null, 'scope' => 'openid email profile', 'settings' => []];
    foreach ($options as $name => $value) {
        $keys = ['clientid' => 'clientId', 'clientsecret' => 'clientSecret', 'discoveryuri' => 'discoveryEndpoint', 'scope' => 'scope'];
        if (isset($keys[$name])) {
            $told[$keys[$name]] = $value;
        } elseif ($setting = PORTAL_SETTINGS[$name] ?? null) {
            $told['settings'][$setting] = in_array($setting, FLAGS, true) ? $value !== '0' : $value;
        } else {
            return 1 - $say("The \"--$name\" option does not exist.");
        }
    }
    query('INSERT INTO oc_user_oidc_providers (identifier, told) VALUES (?, ?) ON CONFLICT (identifier) DO UPDATE SET told = excluded.told',
        [$given[0], json_encode($told)]);
    return 0;
}

if (PHP_SAPI === 'cli' && basename(__FILE__) !== 'standin.php') {
    exit(pack_as($argv[2], $argv[3]));
}
