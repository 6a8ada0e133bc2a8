<?php
// Read before each page. Roundcube answers 200 when its database is away: say what it is, so that the web server shows the
// page that explains it.
register_shutdown_function(function () {
    $db = class_exists('rcmail', false) ? rcmail::get_instance()->db : null;
    if ($db && $db->is_error() && !$db->is_connected() && !headers_sent()) {
        http_response_code(503);
    }
});
