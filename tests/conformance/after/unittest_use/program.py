#: unittest finds and runs the tests below a directory, and tells the same of them.
#: varies: in \d+\.\d+s
#: run: python -m unittest discover; echo $?
#: run: python -m unittest -v tests.test_one; echo $?
#: run: python -m unittest -f -b tests/test_one.py; echo $?
#: run: python program.py -v; echo $?
#: run: cd tests; python -m unittest discover -t .. -p '*two.py' -v; echo $?
import unittest
from tests.test_one import *
if __name__ == "__main__":
    unittest.main()
