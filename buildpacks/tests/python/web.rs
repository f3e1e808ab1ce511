//! What makes a web process without a Procfile, and what is done for Django.

use crate::platform::{Platform, uv};

const DJANGO: (&str, &str) = (
    "manage.py",
    "import os, sys\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\nimport django, shop.settings\n\
     print(os.environ.get('SAYS', '130 static files copied.'))\nsys.exit('SAYS' in os.environ)\n",
);
const SETTINGS: (&str, &str) = ("shop/settings.py", "WSGI_APPLICATION = 'shop.wsgi.application'\n");
const WSGI: (&str, &str) = ("shop/wsgi.py", "application = 1\n");

#[test]
fn frameworks_without_a_procfile() {
    let platform = platform!(wheels);
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "flask==3.0\n"), ("app.py", "from flask import Flask\napp = Flask(__name__)\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt gunicorn'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + flask==3.0
           + gunicorn==99.0
    -----> Serving app:app of app.py with gunicorn, which the requirements do not bring
           web: gunicorn app:app --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "flask\nwaitress\n"), ("app/__init__.py", "from flask import Flask\ndef create_app():\n    return Flask(__name__)\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt gunicorn'
           Resolved 3 packages in [TIME]
           Prepared 3 packages in [TIME]
           Installed 3 packages in [TIME]
           + flask==3.0
           + gunicorn==99.0
           + waitress==3.0
    -----> Serving app:create_app() of app/__init__.py with gunicorn, which the requirements do not bring
           web: gunicorn 'app:create_app()' --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "fastapi\n"), ("main.py", "from fastapi import FastAPI\napp = FastAPI()\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt gunicorn'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + fastapi==1.0
           + gunicorn==99.0
    -----> Serving main:app of main.py with gunicorn, which the requirements do not bring
           web: gunicorn main:app --worker-class asgi --bind 0.0.0.0:$PORT --forwarded-allow-ips '*'
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "starlette\nuvicorn\n"), ("app.py", "from starlette.applications import Starlette\napp = Starlette()\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + starlette==1.0
           + uvicorn==1.0
    -----> Serving app:app of app.py with uvicorn
           web: uvicorn app:app --host 0.0.0.0 --port $PORT --forwarded-allow-ips '*'
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "dash\ngunicorn\n"), ("app.py", "from dash import Dash\napp = Dash(__name__)\nserver = app.server\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + dash==2.0
           + gunicorn==99.0
    -----> Serving app:server of app.py with gunicorn
           web: gunicorn app:server --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "streamlit\n"), ("app.py", "import streamlit as st\nst.write('hello')\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 1 package in [TIME]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + streamlit==1.0
    -----> Serving app.py with streamlit, which it imports
           web: streamlit run app.py --server.port $PORT --server.address 0.0.0.0 --server.headless true --browser.gatherUsageStats false
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "gradio\n"), ("app.py", "import gradio as gr\ngr.Interface(str, 'text', 'text').launch()\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 1 package in [TIME]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + gradio==5.0
    -----> Serving app.py with gradio, which it imports
           web: env GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=$PORT python app.py
    ");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "gunicorn\n"), ("asgi.py", "async def app(scope, receive, send):\n    pass\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 1 package in [TIME]
           Prepared 1 package in [TIME]
           Installed 1 package in [TIME]
           + gunicorn==99.0
    -----> Serving asgi:app of asgi.py with gunicorn
           web: gunicorn asgi:app --worker-class asgi --bind 0.0.0.0:$PORT --forwarded-allow-ips '*'
    ");
}

#[test]
fn a_django_project_is_served_and_its_static_files_collected() {
    let platform = platform!(wheels);
    let requirements = ("requirements.txt", "django\ngunicorn\n");
    insta::assert_snapshot!(platform.good(&[requirements, DJANGO, SETTINGS, WSGI]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + django==5.0
           + gunicorn==99.0
    -----> Collecting static files using 'python manage.py collectstatic --noinput'
           130 static files copied.
    -----> Serving shop.wsgi:application of shop/wsgi.py with gunicorn
           web: gunicorn shop.wsgi:application --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
    platform.restore();
    let again = platform.build();
    insta::assert_snapshot!(again.text, @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Using the environment of the previous release: its requirements are unchanged
    -----> Collecting static files using 'python manage.py collectstatic --noinput'
           130 static files copied.
    -----> Serving shop.wsgi:application of shop/wsgi.py with gunicorn
           web: gunicorn shop.wsgi:application --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
    let asgi = (
        "shop/settings.py",
        "WSGI_APPLICATION = 'shop.wsgi.application'\nASGI_APPLICATION = 'shop.asgi.application'\n",
    );
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "django\ndaphne\n"), DJANGO, asgi, WSGI, ("shop/asgi.py", "application = 1\n")]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + daphne==4.0
           + django==5.0
    -----> Collecting static files using 'python manage.py collectstatic --noinput'
           130 static files copied.
    -----> Serving shop.asgi:application of shop/asgi.py with daphne
           web: daphne --bind 0.0.0.0 --port $PORT shop.asgi:application
    ");
}

#[test]
fn a_secret_key_that_builds_lack_is_made_up() {
    let platform = platform!(wheels);
    let settings = ("shop/settings.py", "import os\nSECRET_KEY = os.environ['SHOP_SECRET_KEY']\n");
    insta::assert_snapshot!(platform.good(&[("requirements.txt", "django\ngunicorn\n"), DJANGO, settings, WSGI]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + django==5.0
           + gunicorn==99.0
    -----> Collecting static files using 'python manage.py collectstatic --noinput'
           SHOP_SECRET_KEY is not set in builds: trying again with a value for this step only
           130 static files copied.
    -----> Serving shop.wsgi:application of shop/wsgi.py with gunicorn
           web: gunicorn shop.wsgi:application --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
}

#[test]
fn static_files_that_cannot_be_collected() {
    let platform = platform!(wheels);
    let requirements = ("requirements.txt", "django\ngunicorn\n");
    let settings = ("shop/settings.py", "raise KeyError('DATABASE_URL')\n");
    insta::assert_snapshot!(platform.bad(&[requirements, DJANGO, settings, WSGI]), @r#"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + django==5.0
           + gunicorn==99.0
    -----> Collecting static files using 'python manage.py collectstatic --noinput'
     !     Error: The static files cannot be collected
     !
     !     KeyError: 'DATABASE_URL'
     !
     !     What to do, one of:
     !     1. If a variable is missing, set it for builds: an app's own configuration is not there in a build.
     !     2. Set DISABLE_COLLECTSTATIC=1 for builds, if the app needs no static files.
     !
     !     The tool's own words:
     !       Traceback (most recent call last):
     !         File "[T]/app/manage.py", line 3, in <module>
     !           import django, shop.settings
     !         File "[T]/app/shop/settings.py", line 1, in <module>
     !           raise KeyError('DATABASE_URL')
     !       KeyError: 'DATABASE_URL'
    "#);
    let settings = ("shop/settings.py", "import whitenoise\n");
    insta::assert_snapshot!(platform.bad(&[requirements, DJANGO, settings, WSGI]), @r#"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + django==5.0
           + gunicorn==99.0
    -----> Collecting static files using 'python manage.py collectstatic --noinput'
     !     Error: The static files cannot be collected
     !
     !     ModuleNotFoundError: No module named 'whitenoise'
     !
     !     What to do, one of:
     !     1. Add the package that brings whitenoise to the requirements.
     !     2. Set DISABLE_COLLECTSTATIC=1 for builds, if the app needs no static files.
     !
     !     The tool's own words:
     !       Traceback (most recent call last):
     !         File "[T]/app/manage.py", line 3, in <module>
     !           import django, shop.settings
     !         File "[T]/app/shop/settings.py", line 1, in <module>
     !           import whitenoise
     !       ModuleNotFoundError: No module named 'whitenoise'
    "#);
}

#[test]
fn static_files_that_need_not_be_collected() {
    let mut platform = platform!(wheels);
    let requirements = ("requirements.txt", "django\ngunicorn\n");
    platform.env.insert("SAYS".to_owned(), "Unknown command: 'collectstatic'".to_owned());
    insta::assert_snapshot!(platform.good(&[requirements, DJANGO, SETTINGS, WSGI]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + django==5.0
           + gunicorn==99.0
    -----> Collecting static files using 'python manage.py collectstatic --noinput'
           Skipped: django.contrib.staticfiles is not among the INSTALLED_APPS
    -----> Serving shop.wsgi:application of shop/wsgi.py with gunicorn
           web: gunicorn shop.wsgi:application --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
    let no_root = "django.core.exceptions.ImproperlyConfigured: You're using the staticfiles app without having set the STATIC_ROOT setting to a filesystem path.";
    platform.env.insert("SAYS".to_owned(), no_root.to_owned());
    insta::assert_snapshot!(platform.good(&[requirements, DJANGO, SETTINGS, WSGI]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + django==5.0
           + gunicorn==99.0
    -----> Collecting static files using 'python manage.py collectstatic --noinput'
           Skipped: STATIC_ROOT is not set, so there is nowhere to collect them
    -----> Serving shop.wsgi:application of shop/wsgi.py with gunicorn
           web: gunicorn shop.wsgi:application --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
    platform.env.insert("DISABLE_COLLECTSTATIC".to_owned(), "1".to_owned());
    insta::assert_snapshot!(platform.good(&[requirements, DJANGO, SETTINGS, WSGI]), @"
    -----> Python app detected
    -----> Using Python [PYTHON]
    -----> Installing dependencies using 'uv pip install -r requirements.txt'
           Resolved 2 packages in [TIME]
           Prepared 2 packages in [TIME]
           Installed 2 packages in [TIME]
           + django==5.0
           + gunicorn==99.0
    -----> Not collecting static files: DISABLE_COLLECTSTATIC is set
    -----> Serving shop.wsgi:application of shop/wsgi.py with gunicorn
           web: gunicorn shop.wsgi:application --bind 0.0.0.0:$PORT --threads 8 --forwarded-allow-ips '*'
    ");
}
