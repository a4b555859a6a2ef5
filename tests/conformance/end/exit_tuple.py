#: A tuple that is given to sys.exit() is printed, or from Python 3.12 on taken for the arguments of SystemExit.
#: every
#: run: for value in "()" "(3,)" "(1, 2)"; do python program.py "$value"; echo $?; python -c "import sys; sys.exit($value)"; echo $?; done
import sys
sys.exit(eval(sys.argv[1]))
