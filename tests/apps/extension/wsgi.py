import fast


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(fast.twice(21)).encode()]
