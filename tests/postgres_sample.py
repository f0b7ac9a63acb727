"""A database with something of everything that PostgreSQL can store, odd names included."""

# ruff: noqa: E501 - statements as one would write them

from __future__ import annotations

from tests.postgres_process import PostgresProcess

DATABASE = 'shop "of" odd/names %41'

ROLES = (
    "CREATE ROLE app LOGIN PASSWORD 'role secret 1' CONNECTION LIMIT 7",
    'CREATE ROLE "odd; ""role\'" NOLOGIN VALID UNTIL \'2031-01-01\'',
    "CREATE ROLE readers NOLOGIN",
    "GRANT readers TO app WITH ADMIN OPTION",
    "ALTER ROLE app SET work_mem TO '7MB'",
    "ALTER ROLE app SET search_path TO '$user', 'odd schema'",
    "COMMENT ON ROLE app IS 'it''s; -- not a comment'",
)

CONTENT = (
    # Schemas, types, domains, functions.
    'CREATE SCHEMA "Odd schema.with/dots" AUTHORIZATION app',
    "CREATE SCHEMA internal",
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'hap''py')",
    "CREATE TYPE point3 AS (x double precision, y double precision, label text)",
    "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
    "CREATE TYPE span AS RANGE (subtype = float8)",
    "CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT n * 2'",
    """CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN NEW.stamped := 'by trigger'; RETURN NEW; END $$""",
    "CREATE PROCEDURE internal.nothing() LANGUAGE sql AS ''",
    "CREATE AGGREGATE product(double precision) (SFUNC = float8mul, STYPE = double precision, INITCOND = '1')",
    "CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk')",
    # All types.
    """CREATE TABLE everything (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, s smallint, i integer, n numeric, f4 real, f8 double precision,
        money money, t text, vc varchar(20), c char(5), b bytea, ts timestamp, tz timestamptz, d date, ti time, tt timetz,
        iv interval, bo boolean, m mood, po point, li line, ls lseg, bx box, pa path, pg polygon, ci circle, ip inet,
        cd cidr, ma macaddr, bi bit(3), vb varbit, tv tsvector, tq tsquery, u uuid, x xml, j json, jb jsonb, ar integer[],
        ta text[][], co point3, r int4range, mr int4multirange, tr tstzrange, dom positive, own span, oi oid, ch "char",
        lsn pg_lsn)""",
    r"""INSERT INTO everything (s, i, n, f4, f8, money, t, vc, c, b, ts, tz, d, ti, tt, iv, bo, m, po, li, ls, bx, pa, pg, ci,
        ip, cd, ma, bi, vb, tv, tq, u, x, j, jb, ar, ta, co, r, mr, tr, dom, own, oi, ch, lsn)
    VALUES (-32768, 2147483647, 'NaN', 1.1, 0.1 + 0.2, 12.34, E'tab\t, line\n, back\\slash, \\. and \\N, ünïcødé 🐘', '', 'ab',
        '\x00ff0a5c', 'infinity', '2026-03-29 02:30+01', '0044-03-15 BC', '24:00', '12:00:00.123456+05:30',
        '1 year -2 days 03:04:05.678', true, 'hap''py', '(1,2)', '{1,2,3}', '[(0,0),(1,1)]', '((0,0),(1,1))', '((0,0),(1,1))',
        '((0,0),(1,1),(1,0))', '<(0,0),1>', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', B'101', B'1', 'a:1 b:2', 'a & b',
        '00000000-0000-0000-0000-000000000001', '<a>b</a>', '{"a":  1}', '{"a": [1, null]}', '{1,NULL,3}',
        '{{a,"b,c"},{"",NULL}}', '(1.5,-0,"x,y")', '[1,5)', '{[1,2],[5,6]}', '[2026-01-01,)', 1, '[0.1,0.2)', 4294967295, 'q',
        '16/B374D848')""",
    "INSERT INTO everything (t) VALUES (NULL), (''), (E'\\\\.'), (E'\\\\.\\n'), (repeat('long ', 200000))",
    "INSERT INTO everything (f8, f4, n) VALUES ('-Infinity', 'NaN', 1e130), (5e-324, 1e-45, 0.000), (-0.0, 3.4e38, -1)",
    # Generated columns, defaults, constraints, triggers, comments, storage, statistics.
    """CREATE TABLE customers (
        code text COLLATE german PRIMARY KEY, name text NOT NULL DEFAULT 'nobody', upper text GENERATED ALWAYS AS (upper(name))
        STORED, stamped text, dropped integer, CONSTRAINT "long enough" CHECK (length(code) > 1))""",
    "ALTER TABLE customers DROP COLUMN dropped",
    "ALTER TABLE customers ADD COLUMN added integer DEFAULT 5",
    "INSERT INTO customers (code, name) SELECT 'c' || i, 'Name ' || i FROM generate_series(1, 300) i",
    "INSERT INTO customers (code, name) VALUES ('Äpfel', 'a'), ('apfel', 'b'), ('Zebra', 'c'), ('öl', 'd')",
    "CREATE TRIGGER stamping BEFORE INSERT OR UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION stamp()",
    "ALTER TABLE customers DISABLE TRIGGER stamping",
    "CREATE INDEX ON customers (lower(name)) WHERE added > 3",
    "CREATE STATISTICS both_of (dependencies) ON name, added FROM customers",
    "COMMENT ON COLUMN customers.name IS 'what it''s called'",
    "ALTER TABLE customers ALTER COLUMN name SET STORAGE EXTERNAL",
    "ALTER TABLE customers OWNER TO app",
    "GRANT SELECT (code), UPDATE ON customers TO readers",
    "CREATE RULE no_delete AS ON DELETE TO customers WHERE old.code = 'c1' DO INSTEAD NOTHING",
    "CREATE TABLE orders (id serial PRIMARY KEY, customer text REFERENCES customers, amount positive, UNIQUE (customer, id))",
    "INSERT INTO orders (customer, amount) SELECT 'c' || (i % 300 + 1), i FROM generate_series(1, 2000) i",
    "DELETE FROM orders WHERE id % 7 = 0",
    "ALTER TABLE orders REPLICA IDENTITY FULL",
    "CLUSTER orders USING orders_pkey",
    # No key, no columns, no rows, inheritance, partitions, unlogged.
    "CREATE TABLE keyless (a integer, b text)",
    "INSERT INTO keyless SELECT i % 10, 'same' FROM generate_series(1, 500) i",
    "CREATE TABLE no_columns ()",
    "INSERT INTO no_columns DEFAULT VALUES",
    "INSERT INTO no_columns DEFAULT VALUES",
    "CREATE TABLE empty (id integer PRIMARY KEY)",
    "CREATE TABLE unique_only (a integer NOT NULL, b integer NOT NULL, UNIQUE (b, a))",
    "INSERT INTO unique_only SELECT i, i % 5 FROM generate_series(1, 50) i",
    "CREATE TABLE child_of (extra text) INHERITS (keyless)",
    "INSERT INTO child_of VALUES (1, 'inherited', 'more')",
    "CREATE TABLE measured (at date, value integer, PRIMARY KEY (at, value)) PARTITION BY RANGE (at)",
    "CREATE TABLE measured_2025 PARTITION OF measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
    """CREATE TABLE measured_2026 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
       PARTITION BY LIST (value)""",
    "CREATE TABLE measured_2026_few PARTITION OF measured_2026 FOR VALUES IN (1, 2, 3)",
    "CREATE TABLE measured_rest PARTITION OF measured DEFAULT",
    "INSERT INTO measured SELECT date '2025-06-01' + i, 1 + i % 3 FROM generate_series(1, 500) i",
    "CREATE TABLE moods (m mood, n integer) PARTITION BY HASH (m)",
    *(f"CREATE TABLE moods_{i} PARTITION OF moods FOR VALUES WITH (MODULUS 3, REMAINDER {i})" for i in range(3)),
    "INSERT INTO moods SELECT (enum_range(NULL::mood))[1 + i % 3], i FROM generate_series(1, 90) i",
    "CREATE UNLOGGED TABLE passing (id integer PRIMARY KEY, t text)",
    "INSERT INTO passing VALUES (1, 'unlogged')",
    # Odd names.
    'CREATE TABLE "Odd schema.with/dots"."a/b "" \' ; %s -- \\ ü\n." ("select" integer PRIMARY KEY, "x y" text, "\\" integer)',
    'INSERT INTO "Odd schema.with/dots"."a/b "" \' ; %s -- \\ ü\n." VALUES (2, \'two\', 2), (1, \'one\', NULL)',
    'CREATE TABLE "Odd schema.with/dots"."..:name :\'x\'" (":a" integer PRIMARY KEY)',
    'INSERT INTO "Odd schema.with/dots"."..:name :\'x\'" VALUES (1)',
    'CREATE TABLE "UPPER" ("ID" uuid PRIMARY KEY)',
    'INSERT INTO "UPPER" SELECT md5(i::text)::uuid FROM generate_series(1, 100) i',
    # Sequences.
    "CREATE SEQUENCE fresh START 5",
    "CREATE SEQUENCE stepping INCREMENT -3 MAXVALUE 100 START 90 CACHE 4 CYCLE",
    "SELECT nextval('stepping'), nextval('stepping')",
    'CREATE SEQUENCE "Odd schema.with/dots"."se""q" AS smallint',
    'SELECT setval(\'"Odd schema.with/dots"."se""q"\', 77, false)',
    # Views, row security, events, text search, casts, operators, foreign data, publications.
    "CREATE VIEW big_orders AS SELECT * FROM orders WHERE amount > 1000",
    'CREATE VIEW "View on View" WITH (security_barrier) AS SELECT id FROM big_orders',
    "CREATE MATERIALIZED VIEW by_customer AS SELECT customer, sum(amount) AS total FROM orders GROUP BY 1",
    "CREATE UNIQUE INDEX ON by_customer (customer)",
    "CREATE MATERIALIZED VIEW never_filled AS SELECT * FROM by_customer WITH NO DATA",
    "CREATE TABLE tenants (tenant text PRIMARY KEY, secret text)",
    "INSERT INTO tenants SELECT 't' || i, md5(i::text) FROM generate_series(1, 100) i",
    "ALTER TABLE tenants ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE tenants FORCE ROW LEVEL SECURITY",
    "CREATE POLICY own_only ON tenants FOR SELECT TO app USING (tenant = current_user)",
    "CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; END $$",
    "CREATE EVENT TRIGGER watch_ddl ON ddl_command_end EXECUTE FUNCTION on_ddl()",
    "CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple)",
    "CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq)",
    "CREATE CAST (text AS point3) WITH INOUT",
    "CREATE PUBLICATION everything_of_orders FOR TABLE orders",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA internal GRANT SELECT ON TABLES TO readers",
)

EXTENSIONS = (
    "CREATE EXTENSION pg_trgm",
    "CREATE EXTENSION hstore SCHEMA internal",
    "CREATE EXTENSION citext",
    "CREATE EXTENSION postgres_fdw",
    "CREATE INDEX ON customers USING gin (name gin_trgm_ops)",
    "CREATE TABLE tagged (id citext PRIMARY KEY, tags internal.hstore)",
    "INSERT INTO tagged VALUES ('One', 'a=>1, b=>NULL'), ('two', '\"x y\"=>\"=>\"')",
    "CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere.invalid')",
    "CREATE USER MAPPING FOR app SERVER elsewhere OPTIONS (user 'x', password 'mapped secret')",
    "CREATE FOREIGN TABLE far (id integer) SERVER elsewhere",
)

LARGE_OBJECTS = (
    "SELECT lo_from_bytea(70001, convert_to(repeat('large object ', 30000), 'UTF8'))",
    "SELECT lo_from_bytea(70002, '\\x00'::bytea)",
    "SELECT lo_create(70003)",
    "ALTER LARGE OBJECT 70001 OWNER TO app",
    "GRANT SELECT ON LARGE OBJECT 70002 TO readers",
    "COMMENT ON LARGE OBJECT 70002 IS 'one byte'",
)


def properties(database: str) -> tuple[str, ...]:
    name = '"' + database.replace('"', '""') + '"'
    return (
        f"ALTER DATABASE {name} SET search_path TO public, internal",
        f"ALTER DATABASE {name} SET default_statistics_target TO 50",
        f"ALTER ROLE app IN DATABASE {name} SET work_mem TO '9MB'",
        f"COMMENT ON DATABASE {name} IS 'a shop, it''s odd'",
        f"ALTER DATABASE {name} CONNECTION LIMIT 55",
        f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO app WITH GRANT OPTION",
        f"ALTER DATABASE {name} OWNER TO app",
    )


def make_roles(server: PostgresProcess) -> None:
    there = {name for (name,) in server.rows("SELECT rolname FROM pg_roles")}
    if "app" not in there:
        server.run(*ROLES)


def fill(server: PostgresProcess, database: str = DATABASE) -> None:
    """Make the database and all that is in it."""
    make_roles(server)
    server.create(database)
    server.run(*CONTENT, *EXTENSIONS, *LARGE_OBJECTS, database=database)
    server.run(*properties(database))
