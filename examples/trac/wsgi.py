"""Trac at /, Mercurial at /hg/, Bazaar at /bzr/, one password for all of them.

Anybody may read. Logging in to Trac and pushing with Mercurial need the password given to install.py.
"""

import functools

import site_data


def application(environ, start_response):
    if not site_data.installed():
        return _answer(start_response, "503 Service Unavailable", "not installed yet: run install.py first\n")
    header = environ.get("HTTP_AUTHORIZATION")
    environ.pop("REMOTE_USER", None)
    if header:
        user = site_data.user_of(header)
        if user is None:
            return _ask_for_password(start_response)
        environ["REMOTE_USER"] = user
    return _site(environ, _asking(start_response))


def _site(environ, start_response):
    path = environ.get("PATH_INFO") or "/"
    for prefix, app in (("/hg", _mercurial), ("/bzr", _bazaar)):
        if path == prefix:
            return _redirect(environ, start_response, prefix + "/")
        if path.startswith(prefix + "/"):
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
            environ["PATH_INFO"] = path[len(prefix) :]
            return app()(environ, start_response)
    if path == "/login" and "REMOTE_USER" not in environ:
        return _ask_for_password(start_response)
    return _trac()(environ, start_response)


@functools.cache
def _trac():
    from trac.web.main import dispatch_request

    def app(environ, start_response):
        environ["trac.env_path"] = str(site_data.TRAC)
        return dispatch_request(environ, start_response)

    return app


@functools.cache
def _mercurial():
    from mercurial import hgweb

    return hgweb.hgwebdir([(b"/", bytes(site_data.HG / "*"))])


@functools.cache
def _bazaar():
    import breezy
    import breezy.bzr  # registers the formats
    from loggerhead.apps.error import ErrorHandlerApp
    from loggerhead.apps.transport import BranchesFromTransportRoot
    from loggerhead.config import LoggerheadConfig
    from paste.httpexceptions import HTTPExceptionHandler

    breezy.initialize()
    base = "readonly+" + site_data.BZR.as_uri() + "/"
    return ErrorHandlerApp(HTTPExceptionHandler(BranchesFromTransportRoot(base, LoggerheadConfig([]))))


def _asking(start_response):
    """Adds to every 401 the header that makes clients ask their user for a password."""

    def start(status, headers, exc_info=None):
        if status.startswith("401") and not any(name.lower() == "www-authenticate" for name, _ in headers):
            headers = [*headers, _CHALLENGE]
        return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

    return start


_CHALLENGE = ("WWW-Authenticate", 'Basic realm="trac", charset="UTF-8"')


def _ask_for_password(start_response):
    return _answer(start_response, "401 Unauthorized", "a password is needed\n", [_CHALLENGE])


def _redirect(environ, start_response, path):
    location = environ.get("SCRIPT_NAME", "") + path
    return _answer(start_response, "301 Moved Permanently", "", [("Location", location)])


def _answer(start_response, status, text, headers=()):
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return [body]
