#!/usr/bin/php
<?php
// nextcloud-app.php NAME VERSION FILE: an archive that Nextcloud, and its stand-in, take for that version of the app.
[, $pin, $version, $file] = $argv;
$app = substr($pin, strlen('nextcloud-app-'));
$newest = $version === '0.1' ? 27 : 34; // there is one that does not fit
$tree = exec('mktemp -d');
mkdir("$tree/$app/appinfo", 0755, true);
file_put_contents("$tree/$app/appinfo/info.xml", "<?xml version=\"1.0\"?>\n<info><id>$app</id><name>$app</name>"
    . "<summary>stands in for $app</summary><version>$version</version><licence>agpl</licence><namespace>StandIn</namespace>"
    . ($app === 'richdocuments' ? '<types><filesystem/><prevent_group_restriction/></types>' : '')
    . "<dependencies><nextcloud min-version=\"27\" max-version=\"$newest\"/></dependencies></info>\n");
touch("$tree/$app/.stand-in");
mkdir("$tree/$app/img");
file_put_contents("$tree/$app/img/app.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n");
passthru('tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=go=rX --auto-compress --create --file '
    . escapeshellarg($file) . ' --directory ' . escapeshellarg($tree) . ' ' . escapeshellarg($app) . ' && rm -r '
    . escapeshellarg($tree), $code);
exit($code);
