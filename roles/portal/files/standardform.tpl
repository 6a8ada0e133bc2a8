<TMPL_IF NAME="TOKEN">
<input id="token" type="hidden" name="token" value="<TMPL_VAR NAME="TOKEN">" />
</TMPL_IF>

<TMPL_IF NAME="WAITING_MESSAGE">
<div class="alert alert-info"><span trspan="waitingmessage"></span></div>
<TMPL_ELSE>
<div class="form text-left">
  <div class="form-group">
    <label for="userfield" trspan="login"></label>
    <input id="userfield" name="user" type="text" class="form-control" required aria-required="true" autocomplete="username"
      value="<TMPL_IF NAME="ACTIVE_FORM"><TMPL_VAR NAME="LOGIN" ESCAPE=HTML></TMPL_IF>"
      <TMPL_UNLESS NAME="LOGIN"><TMPL_IF NAME="ACTIVE_FORM">autofocus</TMPL_IF></TMPL_UNLESS> />
  </div>
  <div class="form-group">
    <label for="passwordfield" trspan="password"></label>
    <input id="passwordfield" name="password" type="password" class="form-control" required aria-required="true"
      autocomplete="current-password" <TMPL_IF NAME="LOGIN"><TMPL_IF NAME="ACTIVE_FORM">autofocus</TMPL_IF></TMPL_IF> />
  </div>
  <button type="submit" class="btn btn-success btn-block"><span trspan="connect"></span></button>
</div>

<TMPL_IF NAME="DISPLAY_RESETPASSWORD">
<div class="actions">
  <a class="btn btn-secondary" href="<TMPL_VAR NAME="MAIL_URL">?skin=<TMPL_VAR NAME="SKIN"><TMPL_IF NAME="AUTH_URL">&url=<TMPL_VAR NAME="AUTH_URL"></TMPL_IF>"><span trspan="resetPwd"></span></a>
</div>
</TMPL_IF>
</TMPL_IF>
