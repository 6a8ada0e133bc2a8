#!/bin/sh
# cloud.sh begin PASSWORD | end: run on the cloud's host by bench.py. Beside the cloud the same code on port 8443, as its makers'
# manual has it on Debian: the packages' own nginx and php-fpm pool, no cache. Prints what a program of its member `bench` signs in with.
# cloud.sh database PASSWORD | no_database: on the database's host, the database it has for itself.
set -eu
where=/var/lib/bench
hba=/etc/postgresql/17/main/pg_hba.conf

database() {
  no_database
  runuser -u postgres -- psql -qd postgres <<.
CREATE ROLE bench LOGIN PASSWORD '$1';
CREATE DATABASE bench OWNER bench;
.
  echo 'hostssl bench bench all scram-sha-256' >>$hba
  systemctl reload postgresql
}

no_database() {
  sed -i '/ bench bench /d' $hba
  systemctl reload postgresql
  runuser -u postgres -- psql -qd postgres <<.
DROP DATABASE IF EXISTS bench WITH (FORCE);
DROP ROLE IF EXISTS bench;
.
}

end() {
  systemctl stop bench-nginx bench-php 2>/dev/null || :
  rm -rf $where
  find /var/lib/php/sessions -user www-data -delete
  systemctl restart nftables
}

occ() {
  setpriv --reuid www-data --regid www-data --clear-groups env HOME=/nonexistent NEXTCLOUD_CONFIG_DIR=$where/config php $where/code/occ --no-interaction "$@"
}

begin() {
  end
  mkdir -p $where/config $where/data /run/php
  cp -r /var/lib/nextcloud/code/current/ $where/code
  # with the same apps, but for what tells clients of changes, which wants a cache
  cp -rL /var/lib/nextcloud/custom_apps/. $where/code/apps
  rm -rf $where/code/apps/notify_push
  touch $where/config/CAN_INSTALL
  chown -R www-data: $where/config $where/data
  nft insert rule inet perron input tcp dport 8443 accept
  nft insert rule inet perron output skuid www-data tcp dport 5432 accept
  occ maintenance:install --database pgsql --database-host postgresql.coop.test --database-name bench --database-user bench \
    --database-pass "$1" --data-dir $where/data --admin-user bench --admin-pass "$1" >&2
  occ config:system:set trusted_domains 0 --value cloud.coop.test >&2
  (cd /var/lib/nextcloud/custom_apps && ls) | grep -vx notify_push | while read -r app; do occ app:enable "$app" >&2 </dev/null; done
  cat >$where/nginx.conf <<'.'
user www-data;
worker_processes auto;
pid /var/lib/bench/nginx.pid;
events {}
http {
  sendfile on;
  tcp_nopush on;
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log /var/lib/bench/access.log;
  error_log /var/lib/bench/error.log;
  server {
    listen 8443 ssl;
    listen [::]:8443 ssl;
    server_name cloud.coop.test;
    ssl_certificate /etc/certificates/nextcloud/fullchain.pem;
    ssl_certificate_key /etc/certificates/nextcloud/privkey.pem;
    root /var/lib/bench/code;
    client_max_body_size 512M;
    fastcgi_buffers 64 4K;
    gzip on;
    gzip_types application/javascript application/json application/xml text/css text/plain text/javascript;
    index index.php index.html /index.php$request_uri;
    location ~ ^/(?:build|tests|config|lib|3rdparty|templates|data)(?:$|/) {
      return 404;
    }
    location ~ \.php(?:$|/) {
      rewrite ^/(?!index|remote|public|cron|core\/ajax\/update|status|ocs\/v[12]|updater\/.+|ocs-provider\/.+|.+\/richdocumentscode(_arm64)?\/proxy) /index.php$request_uri;
      fastcgi_split_path_info ^(.+?\.php)(/.*)$;
      set $path_info $fastcgi_path_info;
      try_files $fastcgi_script_name =404;
      include /etc/nginx/fastcgi_params;
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
      fastcgi_param PATH_INFO $path_info;
      fastcgi_param HTTPS on;
      fastcgi_param modHeadersAvailable true;
      fastcgi_param front_controller_active true;
      fastcgi_param NEXTCLOUD_CONFIG_DIR /var/lib/bench/config;
      fastcgi_pass unix:/run/php/php8.4-fpm.sock;
      fastcgi_intercept_errors on;
      fastcgi_request_buffering off;
      fastcgi_max_temp_file_size 0;
    }
    location / {
      try_files $uri $uri/ /index.php$request_uri;
    }
  }
}
.
  systemd-run --quiet --collect --unit bench-php /usr/sbin/php-fpm8.4 --nodaemonize --fpm-config /etc/php/8.4/fpm/php-fpm.conf
  systemd-run --quiet --collect --unit bench-nginx nginx -c $where/nginx.conf -g 'daemon off;'
  occ user:auth-tokens:add bench | tail -n 1
}

"$@"
