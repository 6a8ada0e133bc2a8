"""The portal's whole configuration as data.

"{{ __portal_settings | portal_configuration(messages) }}" takes the role's variables by their names without
    `portal_`, and gives what roles/portal/files/portal-configuration takes: {configuration: the keys of LemonLDAP::NG that
    are not its defaults, files: {path: text}, messages: {language: {key: text}}}
"{{ __portal_settings | portal_problems }}"  what does not hold, each with its mend
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from unicodedata import normalize
from urllib.parse import urlsplit

Settings = Mapping[str, Any]

# What LemonLDAP::NG may say of a member, and to whom: claim -> attribute of the session
CLAIMS = {
    "preferred_username": "uid",
    "name": "cn",
    "given_name": "givenName",
    "family_name": "sn",
    "locale": "locale",
    "plan": "plan",
    "groups": "memberships;string;always",
    "quota": "quota;int",
    "second_factor": "second_factor;bool",
    "email": "mail",
    "email_verified": "email_verified;bool",
    "aliases": "aliases;string;always",
}
# and what of that no attribute says, in Perl; lists are with "; " between
MACROS = {
    "second_factor": "has2f() ? 1 : 0",
    "email_verified": "1",
    # a plan is a group, too, for services that know nothing of plans
    "memberships": 'join("; ", "plan-$plan", $groups || ())',
}
SCOPES = {
    "profile": "preferred_username name given_name family_name locale plan groups quota second_factor",
    "email": "email email_verified aliases",
}
# What meta/argument_specs.yml says of a client; Ansible checks with it and fills in nothing
CLIENT: dict[str, Any] = {
    "redirect_uris": [],
    "post_logout_redirect_uris": [],
    "logout_url": "",
    "logout_type": "back",
    "plans": [],
    "pkce": True,
    "refresh_token": False,
    "access_token_jwt": False,
    "second_factor": False,
}
LANGUAGES = ("fr", "nl", "de", "en")
# The role's own, in files/, each of which says what it is for; plugins of the sysadmin stand beside them
PLUGINS = ("PerronOtherSessions", "PerronParsedPages", "PerronSecondFactorLock")
# Words of the messages by mail
MAIL = ("autoMail", "click2Reset", "hello", "mailConfirmSubject", "mailSubject", "pwdChanged", "requestIssuedFromIP")


def _plan_rule(plans: Iterable[str]) -> str:
    """Perl, for a member whose plan is one of them; 1 for everybody."""
    names = "|".join(re.escape(plan) for plan in plans)
    return f"$plan =~ /^({names})$/" if names else "1"


def _group_rule(groups: Iterable[str]) -> str:
    return " or ".join(f'inGroup("{group}")' for group in groups) or "0"


def _client_options(client: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "ClientID": client["id"],
        "ClientSecret": client["secret"],
        # LemonLDAP::NG wants one, also of a client that only asks about tokens, through which nobody may enter
        "RedirectUris": " ".join(client["redirect_uris"]) or "https://nowhere.invalid/",
        "PostLogoutRedirectUris": " ".join(client["post_logout_redirect_uris"]),
        # who signs out in a service has said so there
        "LogoutBypassConfirm": 1,
        "Public": 0,
        "RequirePKCE": int(client["pkce"]),
        "BypassConsent": 1,
        "IDTokenSignAlg": "RS256",
        "IDTokenForceClaims": 1,
        "AccessTokenJWT": int(client["access_token_jwt"]),
        "AccessTokenSignAlg": "RS256",
        "RefreshToken": int(client["refresh_token"]),
        "AllowOffline": 0,
        "AllowPasswordGrant": 0,
        "AllowClientCredentialsGrant": 0,
        "UserIDAttr": "uid",
        "Rule": _plan_rule(client["plans"]) if client["redirect_uris"] else "0",
        # the member's session is what lives; a token that is not asked about ends soon
        "AccessTokenExpiration": 300 if client["access_token_jwt"] else 3600,
        "AuthnLevel": 2 if client["second_factor"] else 1,
    }
    if client["logout_url"]:
        options |= {"LogoutUrl": client["logout_url"], "LogoutType": client["logout_type"], "LogoutSessionRequired": 1}
    return {f"oidcRPMetaDataOptions{key}": value for key, value in options.items()}


def _clients(settings: Settings) -> dict[str, Any]:
    clients = {client["id"]: CLIENT | dict(client) for client in settings["clients"]}
    return {
        "oidcRPMetaDataOptions": {name: _client_options(client) for name, client in clients.items()},
        "oidcRPMetaDataExportedVars": {name: dict(CLAIMS) for name in clients},
        "oidcRPMetaDataOptionsExtraClaims": {name: dict(SCOPES) for name in clients},
        "oidcRPMetaDataMacros": {name: dict(MACROS) for name in clients},
    }


def _origins(urls: Iterable[str]) -> list[str]:
    return sorted({f"https://{urlsplit(url).netloc}" for url in urls if url})


def _tiles(settings: Settings) -> dict[str, Any]:
    tiles = {
        f"tile_{tile['service']}": {
            "type": "application",
            "options": {
                # what is shown is the message of this name in the member's language
                "name": f"tile_{tile['service']}",
                "description": f"tiletext_{tile['service']}" if tile.get("description") else "",
                "uri": tile["url"],
                "logo": "",  # said, or LemonLDAP::NG complains of it at every page
                "display": _plan_rule(tile.get("plans") or []) if tile.get("plans") else "on",
            },
        }
        for tile in settings["tiles"]
    }
    return {"services": {"type": "category", "catname": "yourApps", **tiles}} if tiles else {}


def _mail(settings: Settings) -> dict[str, Any]:
    if not settings["smtp_host"]:
        return {"portalDisplayResetPassword": 0}
    return {
        "portalDisplayResetPassword": 1,
        "mailUrl": f"{settings['url']}/resetpwd",
        "mailFrom": settings["mail_from"],
        "mailSessionKey": "contact",
        "mailTimeout": int(settings["reset_minutes"]) * 60,
        "mailOnPasswordChange": 0,
        "SMTPServer": settings["smtp_host"],
        "SMTPPort": int(settings["smtp_port"]),
        "SMTPTLS": "starttls",
        "SMTPTLSOpts": {"SSL_verify_mode": "1", "SSL_ca_path": settings["ca_directory"]},
    }


def _storage(settings: Settings, table: str) -> dict[str, Any]:
    # `system`: where OpenSSL looks by itself, which the unit says
    source = (
        f"dbi:Pg:host={settings['database_host']};dbname={settings['database']};sslmode=verify-full;"
        "sslrootcert=system;connect_timeout=3"
    )
    return {
        "DataSource": source,
        "UserName": settings["database_role"],
        "Password": settings["database_password"],
        "Commit": 1,
        "TableName": table,
    }


def portal_configuration(settings: Settings, messages: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    url = str(settings["url"])
    host = str(urlsplit(url).hostname)
    member = "(objectClass=perronMember)"
    browseable = "Apache::Session::Browseable::PgJSON"
    failures = int(settings["lockout_failures"])
    image = "logo.svg" if settings["logo"] else ""
    uris = [
        uri
        for client in settings["clients"]
        for key in ("redirect_uris", "post_logout_redirect_uris")
        for uri in client.get(key, [])
    ]
    configuration: dict[str, Any] = {
        # The portal
        "portal": f"{url}/",
        "domain": host,
        "cookieName": "perron",
        "securedCookie": 1,
        "https": 1,
        "httpOnly": 1,
        "locationRules": {host: {"default": "accept"}},
        "exportedHeaders": {},
        "reloadUrls": {},
        "applicationList": _tiles(settings),
        "portalSkin": "bootstrap",
        "portalSkinBackground": "",
        "portalMainLogo": f"coop/{image}" if image else "",
        "portalFavicon": f"coop/{image}" if image else "common/favicon.ico",
        "portalCustomCss": "coop/coop.css",
        "portalUserAttr": "cn",
        "portalDisplayRegister": 0,
        "portalDisplayChangePassword": 1,
        "portalDisplayGeneratePassword": 0,
        "portalDisplayRefreshMyRights": 0,
        "portalDisplayOidcConsents": 0,
        "portalDisplayPasswordPolicy": 1,
        "portalCheckLogins": 0,
        "portalRequireOldPassword": 1,
        "portalErrorOnMailNotFound": 0,
        "passwordPolicyActivation": 1,
        "passwordPolicyMinSize": int(settings["password_min_length"]),
        "captcha_mail_enabled": 0,
        "captcha_login_enabled": 0,
        "checkHIBP": 0,
        "corsEnabled": 0,
        "cspFormAction": " ".join(["'self'", *_origins(uris)]),
        "requireToken": 1,
        # seconds in which a form has to be sent: its two minutes are few to think of a password, and all to sign in after coffee
        "formTimeout": 900,
        # else the number of a form, or of a prompt for a second factor, is the second it was asked in and 16 bits
        "tokenUseGlobalStorage": 1,
        "notification": 0,
        # Members: a password is checked by signing in as the member, so that the answer is the directory's
        "authentication": "LDAP",
        "userDB": "Same",
        "passwordDB": "LDAP",
        "registerDB": "Null",
        "ldapServer": settings["ldap_uri"],
        "ldapVerify": "require",
        "ldapCAPath": settings["ca_directory"],
        "managerDn": settings["ldap_bind_dn"],
        "managerPassword": settings["ldap_bind_password"],
        "ldapBase": f"ou=members,{settings['ldap_suffix']}",
        "ldapTimeout": 3,
        "ldapIOTimeout": 5,
        "ldapPpolicyControl": 1,
        "ldapChangePasswordAsUser": 1,
        "ldapUsePasswordResetAttribute": 0,
        "ldapAuthnLevel": 1,
        "AuthLDAPFilter": f"(&(|(uid=$user)(mail=$user)){member})",
        # whoever has no contact address gets no link, and nobody learns that
        "mailLDAPFilter": f"(&(|(uid=$mail)(mail=$mail)){member}(memberStatus=active)(contactAddress=*))",
        "exportedVars": {},
        "ldapExportedVars": {
            "uid": "uid",
            "cn": "cn",
            "givenName": "givenName",
            "sn": "sn",
            "mail": "mail",
            "aliases": "mailAlias",
            "locale": "preferredLanguage",
            "plan": "memberPlan",
            "quota": "memberQuota",
            "contact": "contactAddress",
        },
        "ldapGroupBase": f"ou=groups,{settings['ldap_suffix']}",
        "ldapGroupObjectClass": "groupOfNames",
        "ldapGroupAttributeName": "member",
        "ldapGroupAttributeNameUser": "dn",
        "ldapGroupAttributeNameSearch": "cn",
        "whatToTrace": "uid",
        # Sessions
        "timeout": int(settings["session_hours"]) * 3600,
        "globalStorage": browseable,
        "globalStorageOptions": _storage(settings, "sessions"),
        "persistentStorage": browseable,
        "persistentStorageOptions": _storage(settings, "psessions"),
        "oidcStorage": browseable,
        "oidcStorageOptions": _storage(settings, "oidcsessions"),
        "hashedSessionStore": 1,
        "localSessionStorage": "Cache::FileCache",
        "localSessionStorageOptions": {
            "namespace": "lemonldap-ng-sessions",
            # how long a session that was ended elsewhere may still be taken for good
            "default_expires_in": 15,
            "directory_umask": "007",
            "cache_root": "/var/cache/portal",
            "cache_depth": 3,
        },
        # Too many failures
        "loginHistoryEnabled": 1,
        "successLoginNumber": 5,
        "failedLoginNumber": max(5, failures),
        "bruteForceProtection": 1,
        "bruteForceProtectionMaxFailed": failures,
        "bruteForceProtectionTempo": int(settings["lockout_seconds"]),
        "bruteForceProtectionMaxAge": int(settings["lockout_seconds"]),
        # The second factor
        "totp2fActivation": 1,
        "totp2fSelfRegistration": 1,
        "totp2fDigits": 6,
        "totp2fInterval": 30,
        "totp2fRange": 1,
        # the portal writes it into the QR code's address as Latin-1, which no app expects
        "totp2fIssuer": normalize("NFKD", str(settings["name"])).encode("ascii", "ignore").decode(),
        "totp2fEncryptSecret": 1,
        "totp2fUserCanRemoveKey": 1,
        "totp2fAuthnLevel": 2,
        "webauthn2fActivation": 1,
        "webauthn2fSelfRegistration": 1,
        "webauthn2fUserCanRemoveKey": 1,
        "webauthn2fAuthnLevel": 2,
        "webauthnRpName": settings["name"],
        "sfRequired": _group_rule(settings["second_factor_groups"]),
        # OpenID Connect
        "issuerDBOpenIDConnectActivation": 1,
        "oidcServiceMetaDataIssuer": url,
        "oidcServiceIgnoreScopeForClaims": 0,
        "oidcServiceAllowAuthorizationCodeFlow": 1,
        "oidcServiceAllowImplicitFlow": 0,
        "oidcServiceAllowHybridFlow": 0,
        "oidcServiceAllowDynamicRegistration": 0,
        "oidcServiceMetaDataAuthnContext": {"loa-1": 1, "loa-2": 2},
        "oidcServiceMetaDataAmrRules": {
            "pwd": '$_auth eq "LDAP"',
            "otp": '$_2f eq "totp"',
            "hwk": '$_2f eq "webauthn"',
            "mfa": "$_2f",
        },
        **_mail(settings),
        **_clients(settings),
    }
    words = {language: _words(settings, messages, language) for language in LANGUAGES}
    files = {}
    for language in LANGUAGES:
        # messages by mail are written by the portal itself, which looks here
        mail = {key: text for key, text in words[language].items() if key in MAIL}
        files[f"templates/bootstrap/{language}.json"] = json.dumps(mail, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    configuration |= dict(settings["settings"])
    configuration["customPlugins"] = " ".join([*PLUGINS, str(configuration.get("customPlugins", ""))]).strip()
    return {"configuration": configuration, "files": files, "messages": words}


def _words(settings: Settings, messages: Mapping[str, Mapping[str, str]], language: str) -> dict[str, str]:
    known = {"{name}": str(settings["name"]), "{minutes}": str(settings["reset_minutes"])}
    words = {
        key: re.sub("|".join(map(re.escape, known)), lambda slot: known[slot[0]], str(texts[language]))
        for key, texts in messages.items()
    }
    for tile in settings["tiles"]:
        words[f"tile_{tile['service']}"] = tile["title"][language]
        if tile.get("description"):
            words[f"tiletext_{tile['service']}"] = tile["description"][language]
    return words


def _problems(settings: Settings) -> Iterator[str]:
    if not re.fullmatch(r"https://[a-z0-9.-]+", str(settings["url"])):
        yield f"portal_url is '{settings['url']}': write https:// and the host name, in lower case, with no slash at its end"
    if not str(settings["ldap_uri"]).startswith("ldaps://"):
        yield f"portal_ldap_uri is '{settings['ldap_uri']}': members' passwords go there; write ldaps:// and the host name"
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(settings["color"])):
        yield f"portal_color is '{settings['color']}': write it as #rrggbb"
    if settings["logo"] and not str(settings["logo"]).endswith(".svg"):
        yield f"portal_logo is '{settings['logo']}': give it an SVG file"
    for key in ("session_hours", "reset_minutes", "lockout_failures", "lockout_seconds", "processes"):
        if int(settings[key]) < 1:
            yield f"portal_{key} is {settings[key]}: give it 1 or more"
    for client in settings["clients"]:
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", str(client["id"])):
            yield f"portal_clients: '{client['id']}' is no name for a client; take a-z, 0-9, - and _, a letter first"
        if len(str(client["secret"])) < 20:
            yield f"portal_clients: the secret of '{client['id']}' has under 20 characters; have playbooks/secrets.yml make it"
    for group in settings["second_factor_groups"]:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", str(group)):
            yield f"portal_second_factor_groups: '{group}' is no name of a group"


def portal_problems(settings: Settings) -> list[str]:
    return list(_problems(settings))


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"portal_configuration": portal_configuration, "portal_problems": portal_problems}
