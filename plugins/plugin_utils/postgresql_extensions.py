# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Which package of Debian brings an extension of PostgreSQL."""

from __future__ import annotations

# Of the package postgresql-<version> itself, as /usr/share/postgresql/<version>/extension has them
OWN = """
    amcheck autoinc bloom btree_gin btree_gist citext cube dblink dict_int dict_xsyn earthdistance file_fdw
    fuzzystrmatch hstore insert_username intagg intarray isn lo ltree moddatetime pageinspect pg_buffercache
    pg_freespacemap pg_prewarm pg_stat_statements pg_surgery pg_trgm pg_visibility pg_walinspect pgcrypto
    pgrowlocks pgstattuple plpgsql postgres_fdw refint seg sslinfo tablefunc tcn tsm_system_rows
    tsm_system_time unaccent uuid-ossp xml2
"""
UNTIL = {"adminpack": 16, "old_snapshot": 16}  # the last version that has it
# Of packages beside it, by what follows postgresql-<version>- in their names
PACKAGES = {
    **dict.fromkeys(
        ("postgis", "postgis_raster", "postgis_sfcgal", "postgis_tiger_geocoder", "postgis_topology",
         "address_standardizer", "address_standardizer_data_us"), "postgis-3"
    ),
    **{name: name for name in ("hll", "hypopg", "ip4r", "orafce", "periods", "pgrouting", "pgtap", "prefix", "rum")},
    **{name: name for name in ("semver", "unit")},
    "pg_partman": "partman",
    "pg_repack": "repack",
    "plpgsql_check": "plpgsql-check",
    "vector": "pgvector",
}  # fmt: skip
SINCE = {"vector": 17}  # the first version whose distribution has the package


def package_of(extension: str, version: int) -> str | None:
    """The package that brings an extension.

    :param version: the major version of PostgreSQL.
    :returns: the package's name, empty where the server brings the extension itself, and None where the distribution
        has none that is known here.
    """
    if extension in OWN.split() or version <= UNTIL.get(extension, 0):
        return ""
    if extension in PACKAGES and version >= SINCE.get(extension, 0):
        return f"postgresql-{version}-{PACKAGES[extension]}"
    return None
