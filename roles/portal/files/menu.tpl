<TMPL_INCLUDE NAME="header.tpl">

<main id="menucontent" class="container">

  <TMPL_IF NAME="AUTH_ERROR">
  <div class="message message-<TMPL_VAR NAME="AUTH_ERROR_TYPE"> alert" role="<TMPL_VAR NAME="AUTH_ERROR_ROLE">"><span trmsg="<TMPL_VAR NAME="AUTH_ERROR">"></span></div>
  </TMPL_IF>


  <nav class="navbar navbar-expand-lg navbar-light bg-light">
    <button class="navbar-toggler" type="button" data-toggle="collapse" data-target="#navbarSupportedContent" aria-controls="navbarSupportedContent" aria-expanded="false" aria-label="Menu">
      <span class="navbar-toggler-icon"></span>
    </button>

    <div class="collapse navbar-collapse" id="navbarSupportedContent">
      <!-- One tab a module; the style shows the one that the address names, or the first -->
      <ul class="navbar-nav mr-auto">
        <TMPL_LOOP NAME="DISPLAY_MODULES">
        <TMPL_IF NAME="Appslist"><li class="nav-item"><a class="nav-link" href="#appslist" trspan="yourApps"></a></li></TMPL_IF>
        <TMPL_IF NAME="ChangePassword"><li class="nav-item"><a class="nav-link" href="#password" trspan="password"></a></li></TMPL_IF>
        <TMPL_IF NAME="LoginHistory"><li class="nav-item"><a class="nav-link" href="#loginHistory" trspan="loginHistory"></a></li></TMPL_IF>
        <TMPL_IF NAME="Logout"><li class="nav-item"><a class="nav-link" href="#logout" trspan="logout"></a></li></TMPL_IF>
        <TMPL_IF NAME="_PLUGIN"><li class="nav-item"><a class="nav-link" href="#<TMPL_VAR NAME="_PLUGIN_ID">" trspan="<TMPL_VAR NAME="_PLUGIN_NAME">"></a></li></TMPL_IF>
        </TMPL_LOOP>
      </ul>
      <ul class="navbar-nav">
        <TMPL_IF NAME="sfaManager">
        <li class="nav-item"><a class="nav-link" href="<TMPL_VAR NAME="PORTAL_BASE">2fregisters" trspan="sfaManager"></a></li>
        </TMPL_IF>
        <li class="nav-item navbar-text"><span trspan="connectedAs"></span> <TMPL_VAR NAME="AUTH_USER"></li>
      </ul>
    </div>
  </nav>

  <div id="tabs">
    <TMPL_LOOP NAME="DISPLAY_MODULES">

      <TMPL_IF NAME="Appslist">
        <div id="appslist" class="tab">
          <TMPL_IF NAME="NO_APP_ALLOWED">
            <div class="message message-warning alert"><span trspan="noAppAllowed"></span></div>
          <TMPL_ELSE>
          <TMPL_LOOP NAME="APPSLIST_LOOP">
            <TMPL_IF NAME="category">
            <div class="card border-secondary">
              <div class="card-header text-white bg-secondary"><h1 class="card-title h4" trspan="<TMPL_VAR NAME="catname">"></h1></div>
              <TMPL_IF applications>
              <div class="card-body">
                <div class="row">
                <TMPL_LOOP NAME=applications>
                  <div class="col-md-4">
                    <a class="application card <TMPL_VAR NAME="appid">" href="<TMPL_VAR NAME="appuri">">
                      <h2 class="appname h5" trspan="<TMPL_VAR NAME="appname">"></h2>
                      <TMPL_IF NAME="appdesc"><p class="appdesc" trspan="<TMPL_VAR NAME="appdesc">"></p></TMPL_IF>
                    </a>
                  </div>
                </TMPL_LOOP>
                </div>
              </div>
              </TMPL_IF>
            </div>
            </TMPL_IF>
          </TMPL_LOOP>
          </TMPL_IF>
        </div>
      </TMPL_IF>

      <TMPL_IF NAME="ChangePassword">
        <div id="password" class="tab">
          <div class="card border-secondary">
            <div class="card-header text-white bg-secondary"><h1 class="card-title h4" trspan="changePwd"></h1></div>
            <div class="card-body"><TMPL_INCLUDE NAME="password.tpl"></div>
          </div>
        </div>
      </TMPL_IF>

      <TMPL_IF NAME="LoginHistory">
        <div id="loginHistory" class="tab">
          <TMPL_IF NAME="SUCCESS_LOGIN">
          <div class="card border-secondary">
            <div class="card-header text-white bg-secondary"><h1 class="card-title h4" trspan="lastLogins"></h1></div>
            <div class="card-body"><TMPL_VAR NAME="SUCCESS_LOGIN"></div>
          </div>
          </TMPL_IF>
          <TMPL_IF NAME="FAILED_LOGIN">
          <div class="card border-secondary">
            <div class="card-header text-white bg-secondary"><h1 class="card-title h4" trspan="lastFailedLogins"></h1></div>
            <div class="card-body"><TMPL_VAR NAME="FAILED_LOGIN"></div>
          </div>
          </TMPL_IF>
        </div>
      </TMPL_IF>

      <TMPL_IF NAME="Logout">
        <div id="logout" class="tab">
          <div class="card border-secondary">
            <div class="card-header text-white bg-secondary"><h1 class="card-title h4" trspan="areYouSure"></h1></div>
            <div class="card-body buttons"><a href="<TMPL_VAR NAME="LOGOUT_URL">" class="btn btn-success"><span trspan="imSure"></span></a></div>
          </div>
        </div>
      </TMPL_IF>

      <TMPL_IF NAME="_PLUGIN">
        <div id="<TMPL_VAR NAME="_PLUGIN_ID">" class="tab"><TMPL_VAR NAME="_PLUGIN_HTML"></div>
      </TMPL_IF>
    </TMPL_LOOP>

  </div>

</main>

<TMPL_INCLUDE NAME="footer.tpl">
