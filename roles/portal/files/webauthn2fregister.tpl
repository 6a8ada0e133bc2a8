<TMPL_INCLUDE NAME="header.tpl">

<main id="menucontent" class="container">

  <div id="color" class="message message-<TMPL_VAR NAME="ALERT"> alert" role="status"><span id="msg" trspan="<TMPL_VAR NAME="MSG">"></span></div>

  <div class="card">
    <div class="card-body">
      <div class="form-group">
        <label for="keyName" trspan="totpRegisterName"></label>
        <input type="text" class="form-control" id="keyName" name="keyName" maxlength="20" autocomplete="off" />
      </div>
      <div class="buttons"><button type="button" id="retrybutton" class="btn btn-success" trspan="register"></button></div>
    </div>
  </div>

  <div class="buttons">
    <a href="<TMPL_VAR NAME="PORTAL_URL">2fregisters?skin=<TMPL_VAR NAME="SKIN">" class="btn btn-secondary" trspan="sfaManager"></a>
    <a id="goback" href="<TMPL_VAR NAME="PORTAL_URL">?cancel=1&skin=<TMPL_VAR NAME="SKIN"><TMPL_IF NAME="AUTH_URL">&url=<TMPL_VAR NAME="AUTH_URL"></TMPL_IF>" class="btn btn-secondary" trspan="goToPortal"></a>
  </div>
</main>

<TMPL_INCLUDE NAME="footer.tpl">
