#!/bin/sh
# webmail.sh begin MESSAGES | end: run on the mail host by bench.py. Beside webmail a plain Roundcube on port 8443, as
# Debian's would be without a portal (the same code, database and mail host, signed in by password), and an inbox that is full.
set -eu
inbox=/srv/mail/demo/Maildir/cur

end() {
  systemctl stop bench-nginx bench-php 2>/dev/null || :
  rm -rf /run/bench
  systemctl restart nftables
  find "$inbox" -name '*.bench:2,*' -delete
  doveadm force-resync -u demo@coop.test INBOX
}

begin() {
  mkdir -p "$inbox" /run/bench
  for n in $(seq "$1"); do
    printf '%s\n' 'From: Sarah <sarah@stranger.test>' 'To: demo@coop.test' "Subject: bench $n" "Message-ID: <$n@bench>" '' Bonjour \
      >"$inbox/17000$(printf %05d "$n").bench:2,S"
  done
  chown -R vmail: "$inbox"
  doveadm index -u demo@coop.test INBOX

  cp /etc/webmail/defaults.inc.php /run/bench/
  sed -e "/oauth/d; s/'perron', //" /etc/webmail/config.inc.php >/run/bench/config.inc.php
  sed -e 's#/run/webmail/#/run/bench/#; s#/etc/webmail#/run/bench#; /auto_prepend_file/d' /etc/webmail/php-fpm.conf >/run/bench/php-fpm.conf
  {
    # all that does not belong to one vhost
    sed -e '/^  server {/,/^  }/d; s#/run/nginx.pid#/run/bench/nginx.pid#; $d' /etc/nginx/nginx.conf
    cat <<'.'
  server {
    listen [::]:8443 ssl;
    server_name webmail.coop.test;
    ssl_certificate /etc/certificates/webmail/fullchain.pem;
    ssl_certificate_key /etc/certificates/webmail/privkey.pem;
    root /var/lib/roundcube/public_html;
    location / {
      include /etc/nginx/fastcgi.conf;
      fastcgi_param SCRIPT_FILENAME $document_root/index.php;
      fastcgi_param SCRIPT_NAME /index.php;
      fastcgi_pass unix:/run/bench/php.sock;
    }
  }
}
.
  } >/run/bench/nginx.conf
  chown -R webmail: /run/bench
  systemd-run --quiet --unit bench-php --uid webmail --property SupplementaryGroups=www-data \
    /usr/sbin/php-fpm8.4 --nodaemonize --fpm-config /run/bench/php-fpm.conf
  systemd-run --quiet --unit bench-nginx nginx -c /run/bench/nginx.conf -g 'daemon off;'
  nft insert rule inet perron input tcp dport 8443 accept
}

"$@"
