import asyncio, sys, unittest
from unittest import mock

class One(unittest.TestCase):
    @classmethod
    def setUpClass(cls): print("set up", cls.__name__)
    def test_right(self): self.assertEqual(1, 1)
    def test_wrong(self): self.assertEqual({"a": [1]}, {"a": [2]})
    def test_error(self): 1 / 0
    @unittest.skip("why not")
    def test_skipped(self): pass
    @unittest.expectedFailure
    def test_expected(self): self.fail()
    def test_parts(self):
        for i in range(3):
            with self.subTest(i=i): self.assertNotEqual(i, 1)
    def test_mock(self):
        with mock.patch("json.dumps", return_value="patched") as m:
            import json
            self.assertEqual(json.dumps(1), "patched")
        m.assert_called_once_with(1)
    def test_warns(self):
        import warnings
        with self.assertWarns(DeprecationWarning): warnings.warn("old", DeprecationWarning)
    def test_logs(self):
        import logging
        with self.assertLogs(level="INFO") as logs: logging.info("said")
        self.assertEqual(logs.output, ["INFO:root:said"])

class Later(unittest.IsolatedAsyncioTestCase):
    async def test_later(self): self.assertEqual(await asyncio.sleep(0, 5), 5)
