import coverage
coverage.process_startup()
import package.inner
