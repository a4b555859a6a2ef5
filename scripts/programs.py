"""The programs that scripts/bench-programs runs: what to install, their inputs, and one cheap command each.

Data only. A command works in a directory of its own that holds `files`, needs no network and no home directory, and
does the same each time; `makes` is removed before each run and compared after it.
"""
import re

CODE = '''"""A module for programs that read Python."""
import json
import os


def load(path, *, default=None):
    """Returns what a file of JSON holds."""
    if not os.path.exists(path):
        return default
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def mean(values):
    """Returns the mean of some numbers."""
    return sum(values) / len(values)
'''
UNTIDY = CODE.replace("import json\nimport os", "import os, json").replace('"utf-8"', "'utf-8'")
CSV = "city,country,people\n" + "".join(f"town{n},country{n % 7},{n * 37 % 1000}\n" for n in range(200))
TEXT = """Title
=====

Some *text* with a list:

- one
- two

::

    code = 1
"""
MARKDOWN = "# Title\n\nSome *text* with a [link](https://example.org).\n\n- one\n- two\n\n```python\nprint(1)\n```\n"
NOTEBOOK = """{"cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Title"]},
 {"cell_type": "code", "execution_count": 1, "id": "b", "metadata": {}, "outputs": [], "source": ["print(1)"]}],
 "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
 "language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}
"""
MANAGE = """import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""
SETTINGS = """SECRET_KEY = "not a secret"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
USE_TZ = True
"""


class Program:
    """One program. `needs` is what pip installs; `command` its console script (or "-m MODULE", or a file of `files`)
    and the arguments; `varies` a pattern of what plain Python itself prints differently from run to run."""

    def __init__(self, name, needs, command, files=None, env=None, makes=(), varies=None, status=0):
        self.name, self.needs, self.command, self.files = name, needs.split(), command, files or {}
        self.env, self.makes, self.status = env or {}, makes, status
        self.varies = re.compile(varies) if varies else None


SECONDS = r"\b\d+\.\d+ ?s(econds)?\b"

PROGRAMS = [
    Program("ansible", "ansible-core==2.18.*", ["ansible", "localhost", "-m", "debug", "-a", "msg=hello"],
            env={"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0"}),
    Program("awscli", "awscli==1.*", ["aws", "configure", "list"],
            env={"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
                 "AWS_SECRET_ACCESS_KEY": "secret"}),
    Program("bandit", "bandit==1.*", ["bandit", "-q", "-f", "json", "code.py"], {"code.py": CODE},
            varies=r'"generated_at": "[^"]*"'),
    Program("black", "black==25.*", ["black", "--diff", "-q", "code.py"], {"code.py": UNTIDY},
            varies=r"\t\d{4}-\d\d-\d\d [\d:.]+ ?\+00:00"),
    Program("cookiecutter", "cookiecutter==2.*", ["cookiecutter", "--no-input", "-o", "out", "template"],
            {"template/cookiecutter.json": '{"name": "thing"}\n',
             "template/{{cookiecutter.name}}/README": "This is {{ cookiecutter.name }}.\n"}, makes=("out",)),
    Program("csvcut", "csvkit==2.*", ["csvcut", "-c", "1,3", "towns.csv"], {"towns.csv": CSV}),
    Program("csvstat", "csvkit==2.*", ["csvstat", "towns.csv"], {"towns.csv": CSV}),
    Program("django-admin", "django==5.*", ["django-admin", "startapp", "things", "out"], {"out/.keep": ""},
            makes=("out",)),
    Program("django-manage", "django==5.*", ["manage.py", "sqlmigrate", "auth", "0001"],
            {"manage.py": MANAGE, "settings.py": SETTINGS}),
    Program("docutils", "docutils==0.21.*", ["rst2html5", "text.rst"], {"text.rst": TEXT}),
    Program("flake8", "flake8==7.*", ["flake8", "-j1", "code.py"], {"code.py": UNTIDY}, status=1),
    Program("flask", "flask==3.*", ["flask", "--app", "app", "routes"],
            {"app.py": "import flask\n\napp = flask.Flask(__name__)\n\n\n@app.get('/')\ndef home():\n    return 'home'\n"}),
    Program("httpie", "httpie==3.*", ["http", "--ignore-stdin", "--offline", "POST", "example.org/path", "name=value", "count:=3"]),
    Program("ipython", "ipython==9.*", ["ipython", "--no-banner", "--colors=NoColor", "-c", "print(sum(range(9)))"]),
    Program("isort", "isort==6.*", ["isort", "--diff", "code.py"], {"code.py": UNTIDY},
            varies=r"\t\d{4}-\d\d-\d\d [\d:.]+"),
    Program("jupyter", "nbconvert==7.* jupyter-core==5.*",
            ["jupyter-nbconvert", "--to", "markdown", "--stdout", "--log-level=ERROR", "note.ipynb"],
            {"note.ipynb": NOTEBOOK}),
    Program("mkdocs", "mkdocs==1.*", ["mkdocs", "build", "-q", "-d", "out"],
            {"mkdocs.yml": "site_name: things\n", "docs/index.md": MARKDOWN}, makes=("out",),
            varies=r"Build Date UTC : [^\n]*|<lastmod>[^<]*</lastmod>|[0-9a-zA-Z+/=]{40,}"),
    Program("mypy", "mypy==1.*", ["mypy", "code.py"], {"code.py": CODE}),
    Program("pip", "pip==25.*", ["pip", "list", "--disable-pip-version-check"]),
    Program("poetry", "poetry==2.*", ["poetry", "check"],
            {"pyproject.toml": '[project]\nname = "thing"\nversion = "1.0"\ndescription = "A thing"\n'
             'requires-python = ">=3.9"\nauthors = [{name = "A", email = "a@example.org"}]\nreadme = "README.md"\n',
             "README.md": MARKDOWN}),
    Program("pre-commit", "pre-commit==4.*", ["pre-commit", "validate-config", "hooks.yaml"],
            {"hooks.yaml": "repos:\n- repo: local\n  hooks:\n  - {id: a, name: a, entry: a, language: system}\n"}),
    Program("pygmentize", "pygments==2.*", ["pygmentize", "-f", "html", "code.py"], {"code.py": CODE}),
    Program("pylint", "pylint==3.*", ["pylint", "--score=n", "code.py"], {"code.py": UNTIDY}, status=16),
    Program("pytest", "pytest==8.*", ["pytest", "-q", "-p", "no:cacheprovider", "test_code.py"],
            {"code.py": CODE, "test_code.py": "def test_sum():\n    assert sum([1, 2]) == 3\n"}, varies=SECONDS),
    Program("rich", "rich-cli==1.*", ["rich", "text.md"], {"text.md": MARKDOWN}),
    Program("sphinx", "sphinx==8.*", ["sphinx-build", "-q", "-E", "-d", "doctrees", "-b", "text", "docs", "out"],
            {"docs/conf.py": 'project = "things"\n', "docs/index.rst": TEXT}, makes=("out",)),
    Program("sqlfluff", "sqlfluff==3.*", ["sqlfluff", "lint", "--dialect", "ansi", "query.sql"],
            {"query.sql": "SELECT a, b FROM things WHERE a = 1\n"}, status=1),
    Program("tox", "tox==4.*", ["tox", "list"], {"tox.ini": "[tox]\nenv_list = lint\n[testenv:lint]\ncommands = true\n"}),
    Program("twine", "twine==6.*", ["twine", "--version"]),
    Program("yamllint", "yamllint==1.*", ["yamllint", "hooks.yaml"], {"hooks.yaml": "---\nthings:\n  - one\n  - two\n"}),
    Program("yt-dlp", "yt-dlp==2025.*",
            ["yt-dlp", "--ignore-config", "--load-info-json", "video.json", "--skip-download", "--no-check-formats",
             "--print", "title"],
            {"video.json": '{"id": "a", "title": "A film", "extractor": "generic", "extractor_key": "Generic", '
             '"webpage_url": "https://example.org/a", "formats": [{"format_id": "1", "url": "https://example.org/a.mp4", '
             '"ext": "mp4"}]}\n'}),
    # The same program, as a module: the interpreter has to be told to pyrun.
    Program("black -m", "black==25.*", ["-m", "black", "--version"]),
    Program("http.server -m", "", ["-m", "http.server", "--help"]),
    Program("json.tool -m", "", ["-m", "json.tool", "in.json"], {"in.json": '{"a": [1, 2, {"b": null}]}\n'}),
]
