"""PyMySQL under the name that Django imports, in every process that a test starts. Not used where mysqlclient is installed."""
import pymysql

# The version that Django asks of mysqlclient.
pymysql.version_info = (2, 2, 7, "final", 0)
pymysql.__version__ = "2.2.7"
pymysql.install_as_MySQLdb()
