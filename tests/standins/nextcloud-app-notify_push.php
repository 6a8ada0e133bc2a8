#!/usr/bin/php
<?php
/* nextcloud-app-notify_push.php NAME VERSION FILE: the app as nextcloud-app.php makes one, with this very file as its program
   bin/ARCHITECTURE/notify_push, over the real configuration, database and cache. Of what happens it knows a few events, and no pings. */

namespace StandIn;

if (basename(__FILE__) !== 'notify_push') {
    [, , $version, $file] = $argv;
    $tree = exec('mktemp -d');
    foreach (['appinfo', 'img', 'bin/x86_64', 'bin/aarch64'] as $directory) {
        mkdir("$tree/notify_push/$directory", 0755, true);
    }
    file_put_contents("$tree/notify_push/appinfo/info.xml", "<?xml version=\"1.0\"?>\n<info><id>notify_push</id><version>$version</version>"
        . "<dependencies><nextcloud min-version=\"30\" max-version=\"35\"/></dependencies></info>\n");
    touch("$tree/notify_push/.stand-in");
    file_put_contents("$tree/notify_push/img/app.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n");
    // not to be run as they are: Nextcloud sees to that when it installs an app itself
    copy(__FILE__, "$tree/notify_push/bin/x86_64/notify_push");
    copy(__FILE__, "$tree/notify_push/bin/aarch64/notify_push");
    passthru('tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=go=rX --auto-compress --create --file '
        . escapeshellarg($file) . ' --directory ' . escapeshellarg($tree) . ' notify_push && rm -r ' . escapeshellarg($tree), $code);
    exit($code);
}

const CHANNELS = ['notify_test_cookie', 'notify_user_share_created', 'notify_custom'];

function say(string $message): void
{
    echo $message, "\n";
}

function refuse(string $message): never
{
    say("Error: $message");
    exit(1);
}

// --- what it is told on its command line and by Nextcloud's configuration -----------------------------------------------

$told = [];
for ($words = array_slice($argv, 1); $words;) {
    $word = array_shift($words);
    if (in_array($word, ['--glob-config', '--no-ansi'], true)) {
        $told[substr($word, 2)] = true;
    } elseif (in_array($word, ['--socket-path', '--socket-permissions'], true)) {
        $told[substr($word, 2)] = (string)array_shift($words);
    } else {
        $told['file'] = str_starts_with($word, '-') ? refuse("unexpected argument '$word' found") : $word;
    }
}
$file = $told['file'] ?? refuse('No database server is configured');
$config = [];
foreach ([$file, ...(isset($told['glob-config']) ? glob(dirname($file) . '/*.config.php') : [])] as $one) {
    $CONFIG = [];
    is_readable($one) ? include $one : refuse('Failed to read config file');
    $config = array_merge($config, $CONFIG);
}
$socket = $told['socket-path'] ?? refuse('this stand-in listens to a socket only');
$address = rtrim($config['overwrite.cli.url'] ?? refuse('`overwrite.cli.url` not set'), '/');
$version = (string)simplexml_load_file(dirname(__DIR__, 2) . '/appinfo/info.xml')->version;

function database(): \PDO
{
    global $config;
    // it is no libpq, which knows the word `system`
    if (getenv('PGSSLMODE') === 'verify-full' && !is_file((string)getenv('PGSSLROOTCERT'))) {
        throw new \RuntimeException('Failed to connect to database: PGSSLROOTCERT: No such file or directory');
    }
    return new \PDO("pgsql:host={$config['dbhost']};dbname={$config['dbname']}", $config['dbuser'], $config['dbpassword']);
}

function mapping(int $storage): int
{
    try {
        return (int)database()->query('SELECT count(*) FROM oc_mounts JOIN oc_filecache ON root_id = fileid WHERE storage_id = ' . $storage)
            ->fetchColumn();
    } catch (\Throwable $error) {
        say("ERROR error while getting mapping count for $storage: " . $error->getMessage());
        return 0;
    }
}

function cache(): \Redis
{
    global $config;
    $cache = new \Redis();
    $cache->connect($config['redis']['host'], $config['redis']['port'], $config['redis']['timeout']);
    return $cache;
}

/** @return array{0: int, 1: string} status and body of what Nextcloud answers, verified, with the client's address passed on */
function nextcloud(string $path, array $headers = [], ?string $who = null): array
{
    global $address;
    $ask = curl_init("$address/index.php/apps/notify_push/$path");
    curl_setopt_array($ask, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 10, CURLOPT_HTTPHEADER => $headers]
        + ($who === null ? [] : [CURLOPT_USERPWD => $who]));
    $body = curl_exec($ask);
    return $body === false ? [0, curl_error($ask)] : [curl_getinfo($ask, CURLINFO_RESPONSE_CODE), $body];
}

// --- what it answers ----------------------------------------------------------------------------------------------------

/** @return array{0: int, 1: string} */
function answer(string $method, string $path, array $headers): array
{
    global $cookie, $version;
    if (!preg_match('#^(?:/push)?/(?:(ws)|test/(cookie|reverse_cookie|version|mapping/\d+|remote/[0-9a-f.:]+))$#', $path, $found)
        || ($method === 'POST') !== (($found[2] ?? '') === 'version')) {
        return [404, ''];
    }
    if ($found[1]) {
        return [400, 'Invalid request header "connection"'];
    }
    if (!isset($headers['token'])) {
        return [400, 'Missing request header "token"'];
    }
    try {
        $cache = cache();
        if ($headers['token'] === '' || $cache->get('test-token') !== $headers['token']) {
            return [500, 'Unhandled rejection: SelfTest(Token)'];
        }
        [$what, $of] = explode('/', $found[2]) + [1 => ''];
        return [200, match ($what) {
            'cookie' => (string)$cookie,
            'reverse_cookie' => nextcloud('test/cookie', ["token: {$headers['token']}"])[1],
            'mapping' => (string)mapping((int)$of),
            'remote' => nextcloud('test/remote', ["token: {$headers['token']}", "X-Forwarded-For: $of"])[1],
            'version' => $cache->set('notify_push_version', $version) ? 'set' : 'error',
        }];
    } catch (\RedisException $error) {
        return [500, 'Unhandled rejection: Redis(' . $error->getMessage() . ')'];
    }
}

/** A text frame of a WebSocket (RFC 6455), short ones only. */
function frame(string $text): string
{
    return "\x81" . chr(strlen($text)) . $text;
}

/** Takes the first frame away; null as long as it is not there whole. */
function unframe(string &$heard): ?string
{
    if (strlen($heard) < 6 || strlen($heard) < 6 + ($length = ord($heard[1]) & 127)) {
        return null;
    }
    $text = substr($heard, 6, $length) ^ str_repeat(substr($heard, 2, 4), intdiv($length, 4) + 1);
    $heard = substr($heard, 6 + $length);
    return $text;
}

/** What came over a connection; false ends it. */
function hear(object $client): bool
{
    if (!isset($client->said)) {
        if (!str_contains($client->heard, "\r\n\r\n")) {
            return true;
        }
        [$head, $client->heard] = explode("\r\n\r\n", $client->heard, 2);
        $lines = explode("\r\n", $head);
        [$method, $path] = explode(' ', array_shift($lines)) + ['', ''];
        $headers = [];
        foreach ($lines as $line) {
            [$name, $value] = explode(':', $line, 2) + ['', ''];
            $headers[strtolower($name)] = trim($value);
        }
        if (!in_array($path, ['/ws', '/push/ws'], true) || strtolower($headers['upgrade'] ?? '') !== 'websocket') {
            [$status, $body] = answer($method, $path, $headers);
            fwrite($client->stream, "HTTP/1.1 $status .\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: "
                . strlen($body) . "\r\n\r\n$body");
            return false;
        }
        $key = base64_encode(sha1($headers['sec-websocket-key'] . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11', true));
        fwrite($client->stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            . "Sec-WebSocket-Accept: $key\r\n\r\n");
        [$client->said, $client->from, $client->who] = [[], $headers['x-forwarded-for'] ?? '', null];
    }
    while (($text = unframe($client->heard)) !== null) {
        if ($client->who === null && count($client->said = [...$client->said, trim($text)]) === 2) {
            [$status, $body] = nextcloud('uid', ["X-Forwarded-For: $client->from"], implode(':', $client->said));
            fwrite($client->stream, frame($status === 200 ? 'authenticated' : 'err: ' . ($status === 401 ? 'Invalid credentials'
                : "Error while sending authentication request to nextcloud: $status")));
            if ($status !== 200) {
                return false;
            }
            $client->who = $body;
        }
    }
    return true;
}

// --- what it does all day -----------------------------------------------------------------------------------------------

try {
    database();
} catch (\Throwable $error) {
    refuse($error->getMessage());
}
mapping(1);
nextcloud('test/version');
@unlink($socket);
$server = stream_socket_server("unix://$socket", $code, $why) ?: refuse("Failed to bind to socket at $socket: $why");
chmod($socket, octdec($told['socket-permissions'] ?? '0660'));
if ($notify = getenv('NOTIFY_SOCKET')) {
    fwrite(stream_socket_client("udg://$notify"), 'READY=1');
}
[$cookie, $clients, $events, $heard] = [0, [], null, ''];
pcntl_async_signals(true);
pcntl_signal(SIGTERM, function () use ($socket) {
    unlink($socket);
    exit(0);
});
while (true) {
    if (!$events && ($events = @stream_socket_client("unix://{$config['redis']['host']}", $code, $why, 1) ?: null)) {
        fwrite($events, 'SUBSCRIBE ' . implode(' ', CHANNELS) . "\r\n");
        $heard = '';
    } elseif (!$events) {
        say('WARN Redis server disconnected, reconnecting in 1s');
    }
    $ready = [$server, ...($events ? [$events] : []), ...array_column($clients, 'stream')];
    $none = null;
    if (!@stream_select($ready, $none, $none, 1)) {
        continue;
    }
    foreach ($ready as $stream) {
        if ($stream === $server) {
            $stream = @stream_socket_accept($server, 0);
            if ($stream) {
                $clients[(int)$stream] = (object)['stream' => $stream, 'heard' => ''];
            }
            continue;
        }
        $text = fread($stream, 65536);
        if ($stream === $events) {
            $events = $text === '' || $text === false ? null : $events;
            $heard .= $text;
            while (preg_match('/^\*3\r\n\$\d+\r\n\w+\r\n\$\d+\r\n(\w+)\r\n(?:\$\d+\r\n|:)(.*?)\r\n/', $heard, $found)) {
                $heard = substr($heard, strlen($found[0]));
                $what = json_decode($found[2], true);
                if ($found[1] === 'notify_test_cookie') {
                    $cookie = (int)$what;
                }
                foreach ($clients as $client) {
                    if (isset($what['user']) && $what['user'] === ($client->who ?? null)) {
                        fwrite($client->stream, frame($what['message'] ?? 'notify_file'));
                    }
                }
            }
            continue;
        }
        $client = $clients[(int)$stream];
        $client->heard .= $text;
        if ($text === '' || $text === false || !hear($client)) {
            unset($clients[(int)$stream]);
            fclose($stream);
        }
    }
}
