#: A virtual environment is made, pip installs into it and removes from it, and the next run sees that.
#: run: python -m venv --without-pip v; v/bin/python -c 'import sys; print(sys.prefix == sys.base_prefix, sys.version_info[:2])'; rm -r v
#: run: python -m ensurepip --version; python -m pip --version | cut -d' ' -f 1; python -m pip list --disable-pip-version-check --format=freeze | grep ^pip= | cut -d= -f 1
#: run: python program.py make; python -m pip install --disable-pip-version-check --root-user-action=ignore --no-index --target t ./own-1-py3-none-any.whl; PYTHONPATH=t "$PYTHON" -c 'import own; print(own.x)'; rm -r t *.whl
#: varies: /tmp/[^ ]*
import sys, zipfile
with zipfile.ZipFile("own-1-py3-none-any.whl", "w") as z:
    z.writestr("own.py", "x = 'installed'\n")
    z.writestr("own-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: own\nVersion: 1\n")
    z.writestr("own-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: ours\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr("own-1.dist-info/RECORD", "own.py,,\nown-1.dist-info/METADATA,,\nown-1.dist-info/WHEEL,,\nown-1.dist-info/RECORD,,\n")
