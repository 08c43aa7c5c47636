"""A first test: every cell has the database that it names."""

import os
import unittest


class Environment(unittest.TestCase):
    def test_database_is_named(self):
        self.assertIn(os.environ["CROFT_DB_ENGINE"], ("sqlite", "postgresql"))

    def test_socket_is_there(self):
        socket = os.environ["CROFT_DB_SOCKET"]
        if not socket:
            self.skipTest("sqlite has no server")
        self.assertTrue(os.path.exists(socket))
