#: An option of warnings that is wrong is complained of at each start.
#: miss
#: run: for w in bogus error::NoSuchWarning error:::x:y a:b:c:d:e:f error::builtins.int :::: error::mod.Own; do python -W "$w" program.py; done
#: run: PYTHONWARNINGS=bogus,error "$PYTHON" program.py; python -W error -W bogus program.py
#: run: PYTHONCOERCECLOCALE=warn LANG=C python program.py; LANG= PYTHONCOERCECLOCALE=warn python program.py
import sys

print(sys.warnoptions)
