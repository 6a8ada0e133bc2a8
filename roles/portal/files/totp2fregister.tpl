<TMPL_INCLUDE NAME="header.tpl">

<main id="menucontent" class="container">

  <div id="color" class="message message-<TMPL_VAR NAME="ALERT"> alert"><span id="msg" trspan="<TMPL_VAR NAME="MSG">"></span></div>

  <div id="divToHide" class="card">
    <div class="card-body row">
      <div class="col-md-6 text-center">
        <p>&#x2460; <span trspan="totpQrCode"></span></p>
        <p><a class="otpauth-url" href=""><canvas id="qr"></canvas><br /><span trspan="totpOrTouch"></span></a></p>
        <p trspan="totpSecretKey"></p>
        <p><code id="secret"></code></p>
      </div>
      <div class="col-md-6">
        <div class="form-group">
          <label for="TOTPName">&#x2461; <span trspan="totpRegisterName"></span></label>
          <input type="text" class="form-control" id="TOTPName" name="TOTPName" maxlength="20" autocomplete="off" />
        </div>
        <div class="form-group">
          <label for="code">&#x2462; <span trspan="totpRegisterCode"></span></label>
          <input id="code" class="form-control" name="code" inputmode="numeric" autocomplete="one-time-code" />
        </div>
        <div class="buttons"><button type="button" id="verify" class="btn btn-success" trspan="register"></button></div>
      </div>
    </div>
  </div>

  <div class="buttons">
    <a href="<TMPL_VAR NAME="PORTAL_URL">2fregisters?skin=<TMPL_VAR NAME="SKIN">" class="btn btn-secondary" trspan="sfaManager"></a>
    <a id="goback" href="<TMPL_VAR NAME="PORTAL_URL">?cancel=1&skin=<TMPL_VAR NAME="SKIN"><TMPL_IF NAME="AUTH_URL">&url=<TMPL_VAR NAME="AUTH_URL"></TMPL_IF>" class="btn btn-secondary" trspan="goToPortal"></a>
  </div>
</main>

<script type="text/javascript" src="<TMPL_VAR NAME="STATIC_PREFIX">bwr/qrious/dist/qrious.min.js?v=<TMPL_VAR CACHE_TAG>"></script>
<script type="text/javascript" src="<TMPL_VAR NAME="STATIC_PREFIX">/common/js/totpregistration.min.js?v=<TMPL_VAR CACHE_TAG>"></script>
<TMPL_INCLUDE NAME="footer.tpl">
