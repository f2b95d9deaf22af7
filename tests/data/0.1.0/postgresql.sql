SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.api_keys (
    id integer NOT NULL,
    user_id integer NOT NULL,
    name character varying(255) NOT NULL,
    key_sha256 character varying(64) NOT NULL,
    inserted_at timestamp without time zone NOT NULL
);
CREATE SEQUENCE public.api_keys_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.api_keys_id_seq OWNED BY public.api_keys.id;
CREATE TABLE public.audit_events (
    id integer NOT NULL,
    event character varying(64) NOT NULL,
    actor character varying(255),
    at timestamp without time zone NOT NULL,
    address character varying(64),
    details json NOT NULL
);
CREATE SEQUENCE public.audit_events_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_events_id_seq OWNED BY public.audit_events.id;
CREATE TABLE public.hexhub_backup_audit_events (
    id integer NOT NULL,
    event character varying(40) NOT NULL,
    actor text NOT NULL,
    at timestamp without time zone NOT NULL,
    address text,
    details json NOT NULL
);
CREATE SEQUENCE public.hexhub_backup_audit_events_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.hexhub_backup_audit_events_id_seq OWNED BY public.hexhub_backup_audit_events.id;
CREATE TABLE public.hexhub_backup_backups (
    id character varying(40) NOT NULL,
    state character varying(20) NOT NULL,
    reason text,
    created_at timestamp without time zone NOT NULL,
    created_by text NOT NULL,
    duration_seconds double precision,
    size_bytes bigint,
    manifest json,
    warning_count integer NOT NULL,
    expires_at timestamp without time zone,
    kept boolean NOT NULL,
    adopted boolean NOT NULL,
    verified_at timestamp without time zone,
    intact boolean
);
CREATE TABLE public.hexhub_backup_journal (
    id integer NOT NULL,
    operation_id character varying(40) NOT NULL,
    file_type character varying(10) NOT NULL,
    package text NOT NULL,
    version text NOT NULL,
    action character varying(10) NOT NULL,
    tag text NOT NULL,
    record json
);
CREATE SEQUENCE public.hexhub_backup_journal_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.hexhub_backup_journal_id_seq OWNED BY public.hexhub_backup_journal.id;
CREATE TABLE public.hexhub_backup_operations (
    id character varying(40) NOT NULL,
    verb character varying(20) NOT NULL,
    state character varying(20) NOT NULL,
    reason text,
    code character varying(40),
    actor text NOT NULL,
    address text,
    backup_id character varying(40),
    options json NOT NULL,
    started_at timestamp without time zone NOT NULL,
    finished_at timestamp without time zone,
    duration_seconds double precision,
    decided_at timestamp without time zone,
    outcome json
);
CREATE TABLE public.hexhub_backup_schedule (
    name character varying(20) NOT NULL,
    due_at timestamp without time zone NOT NULL
);
CREATE TABLE public.owners (
    id integer NOT NULL,
    package_id integer NOT NULL,
    user_id integer NOT NULL,
    level character varying(16) NOT NULL,
    inserted_at timestamp without time zone NOT NULL
);
CREATE SEQUENCE public.owners_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.owners_id_seq OWNED BY public.owners.id;
CREATE TABLE public.packages (
    id integer NOT NULL,
    name character varying(255) NOT NULL,
    repository_name character varying(255) NOT NULL,
    meta json NOT NULL,
    private boolean NOT NULL,
    downloads integer NOT NULL,
    inserted_at timestamp without time zone NOT NULL,
    updated_at timestamp without time zone NOT NULL,
    html_url text,
    docs_html_url text,
    source character varying(16) NOT NULL
);
CREATE SEQUENCE public.packages_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.packages_id_seq OWNED BY public.packages.id;
CREATE TABLE public.releases (
    id integer NOT NULL,
    package_id integer NOT NULL,
    version character varying(255) NOT NULL,
    has_docs boolean NOT NULL,
    meta json NOT NULL,
    requirements json NOT NULL,
    retired json,
    downloads integer NOT NULL,
    inserted_at timestamp without time zone NOT NULL,
    updated_at timestamp without time zone NOT NULL,
    url text,
    package_url text,
    html_url text,
    docs_html_url text
);
CREATE SEQUENCE public.releases_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.releases_id_seq OWNED BY public.releases.id;
CREATE TABLE public.users (
    id integer NOT NULL,
    username character varying(255) NOT NULL,
    email character varying(255) NOT NULL,
    password_hash text NOT NULL,
    is_admin boolean NOT NULL,
    totp_enabled boolean NOT NULL,
    totp_secret character varying(64),
    session_token character varying(32) NOT NULL,
    service_account boolean NOT NULL,
    deactivated_at timestamp without time zone,
    inserted_at timestamp without time zone NOT NULL,
    updated_at timestamp without time zone NOT NULL
);
CREATE SEQUENCE public.users_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.users_id_seq OWNED BY public.users.id;
ALTER TABLE ONLY public.api_keys ALTER COLUMN id SET DEFAULT nextval('public.api_keys_id_seq'::regclass);
ALTER TABLE ONLY public.audit_events ALTER COLUMN id SET DEFAULT nextval('public.audit_events_id_seq'::regclass);
ALTER TABLE ONLY public.hexhub_backup_audit_events ALTER COLUMN id SET DEFAULT nextval('public.hexhub_backup_audit_events_id_seq'::regclass);
ALTER TABLE ONLY public.hexhub_backup_journal ALTER COLUMN id SET DEFAULT nextval('public.hexhub_backup_journal_id_seq'::regclass);
ALTER TABLE ONLY public.owners ALTER COLUMN id SET DEFAULT nextval('public.owners_id_seq'::regclass);
ALTER TABLE ONLY public.packages ALTER COLUMN id SET DEFAULT nextval('public.packages_id_seq'::regclass);
ALTER TABLE ONLY public.releases ALTER COLUMN id SET DEFAULT nextval('public.releases_id_seq'::regclass);
ALTER TABLE ONLY public.users ALTER COLUMN id SET DEFAULT nextval('public.users_id_seq'::regclass);
INSERT INTO public.api_keys VALUES (1, 1, 'ci', '9c92bfa57a06546b05db15d17d6b8d66ed45a9a46806d719081df4c3abdbe7d9', '2025-03-01 08:00:00');
INSERT INTO public.audit_events VALUES (1, 'release.published', 'admin', '2025-03-21 08:00:00', '192.0.2.10', '{"package": "auth_gate", "version": "1.0.0-rc.1"}');
INSERT INTO public.audit_events VALUES (2, 'release.published', 'alice', '2025-03-21 11:25:42.857143', '192.0.2.10', '{"package": "billing_core", "version": "1.0.0-rc.1"}');
INSERT INTO public.audit_events VALUES (3, 'backup.created', 'admin', '2026-11-28 07:46:50.385789', '192.0.2.1', '{"backup": "20261128-074650-632f2e", "size_bytes": 23040, "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "missing_files": 0}');
INSERT INTO public.audit_events VALUES (4, 'backup.created', 'admin', '2026-11-28 07:46:50.457221', '192.0.2.1', '{"backup": "20261128-074650-654402", "size_bytes": 23040, "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "missing_files": 0}');
INSERT INTO public.audit_events VALUES (5, 'backup.created', 'admin', '2026-11-28 07:46:50.600633', '192.0.2.1', '{"backup": "20261128-074650-4dbf93", "size_bytes": 23040, "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "missing_files": 0}');
INSERT INTO public.audit_events VALUES (6, 'backup.created', 'admin', '2026-11-28 07:46:50.825153', '192.0.2.1', '{"backup": "20261128-074650-c3b340", "size_bytes": 23040, "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "missing_files": 0}');
INSERT INTO public.audit_events VALUES (7, 'backup.verified', 'admin', '2026-11-28 07:46:50.908191', '192.0.2.1', '{"operation": "20261128-074650-4a86bc", "backup": "20261128-074650-632f2e", "state": "completed", "reason": null, "verb": "verify"}');
INSERT INTO public.audit_events VALUES (8, 'backup.failed', 'admin', '2026-11-28 07:46:51.060637', '192.0.2.1', '{"operation": "20261128-074650-d8473d", "backup": "20261128-074650-d8473d", "state": "failed", "reason": "The create ended, because the system refused a file operation: Input/output error. Fix that and start again.", "verb": "create"}');
INSERT INTO public.audit_events VALUES (9, 'backup.deleted', 'admin', '2026-11-28 07:46:51.081586', '192.0.2.1', '{"backup": "20261128-074650-c3b340", "reason": "manual"}');
INSERT INTO public.audit_events VALUES (10, 'backup.restored', 'admin', '2026-11-28 07:46:52.851774', '192.0.2.1', '{"operation": "20261128-074652-6b1309", "records": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 1, "skipped": 0, "left_out": 0, "not_chosen": 2}}, "files": {"placed": 0, "replaced": 1, "bytes": 5120}, "warning_count": 0}');
INSERT INTO public.hexhub_backup_audit_events VALUES (1, 'backup.created', 'admin', '2026-11-28 07:46:51.134968', '192.0.2.1', '{"backup": "20261128-074650-632f2e"}');
INSERT INTO public.hexhub_backup_backups VALUES ('20261128-074650-4dbf93', 'completed', NULL, '2026-11-28 07:46:50.470294', 'admin', 0.078, 23040, '{"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.586494Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}', 0, '2026-12-28 07:46:50.470294', false, false, '2026-11-28 07:46:50.612452', true);
INSERT INTO public.hexhub_backup_backups VALUES ('20261128-074650-654402', 'completed', NULL, '2026-11-28 07:46:50.41444', 'admin', 0.038, 23040, '{"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.455343Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}', 0, NULL, true, false, '2026-11-28 07:46:50.463065', true);
INSERT INTO public.hexhub_backup_backups VALUES ('20261128-074650-632f2e', 'completed', NULL, '2026-11-28 07:46:50.318553', 'admin', 0.066, 23040, '{"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.379929Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}', 0, '2026-12-28 07:46:50.318553', false, false, '2026-11-28 07:46:50.89566', true);
INSERT INTO public.hexhub_backup_backups VALUES ('20261128-074650-d8473d', 'failed', 'The create ended, because the system refused a file operation: Input/output error. Fix that and start again.', '2026-11-28 07:46:50.920749', 'admin', 0.078, NULL, NULL, 0, '2026-12-28 07:46:50.920749', false, false, NULL, NULL);
INSERT INTO public.hexhub_backup_backups VALUES ('found', 'completed', NULL, '2026-11-28 07:46:50.817592', 'admin', NULL, 23040, '{"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.821679Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}', 0, '2026-12-28 07:46:51.116072', false, true, NULL, NULL);
INSERT INTO public.hexhub_backup_journal VALUES (2, '20261128-074653-4f55de', 'package', 'billing_core', '1.0.0-rc.1', 'replace', '2244797-15-1795852011184470816 6292c8b17c54333d0449794f91ca2287c29e0adc1bcf06795c54bc6aa1a003e6', '{"docs_html_url": "/packages/billing_core/releases/1.0.0-rc.1/docs", "downloads": 1666, "has_docs": false, "html_url": "/packages/billing_core/releases/1.0.0-rc.1", "inserted_at": "2025-03-21T11:25:42.857143Z", "meta": {"build_tools": ["mix"]}, "package_name": "billing_core", "package_url": "/packages/billing_core/releases/1.0.0-rc.1/package", "requirements": {"jason": {"app": "jason", "optional": false, "requirement": "~> 1.0"}}, "retired": null, "updated_at": "2025-03-21T11:25:42.857143Z", "url": "/packages/billing_core/releases/1.0.0-rc.1", "version": "1.0.0-rc.1"}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074650-632f2e', 'create', 'completed', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-632f2e', '{}', '2026-11-28 07:46:50.318553', '2026-11-28 07:46:50.406612', 0.066, NULL, '{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.379929Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}, "size_bytes": 23040, "operation": "20261128-074650-632f2e", "warnings": [], "warning_count": 0}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074650-654402', 'create', 'completed', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-654402', '{}', '2026-11-28 07:46:50.41444', '2026-11-28 07:46:50.463065', 0.038, NULL, '{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.455343Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}, "size_bytes": 23040, "operation": "20261128-074650-654402", "warnings": [], "warning_count": 0}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074650-4dbf93', 'create', 'completed', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-4dbf93', '{}', '2026-11-28 07:46:50.470294', '2026-11-28 07:46:50.612452', 0.078, NULL, '{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.586494Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}, "size_bytes": 23040, "operation": "20261128-074650-4dbf93", "warnings": [], "warning_count": 0}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074650-c3b340', 'create', 'completed', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-c3b340', '{}', '2026-11-28 07:46:50.630137', '2026-11-28 07:46:50.830673', 0.106, NULL, '{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.821679Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}, "size_bytes": 23040, "operation": "20261128-074650-c3b340", "warnings": [], "warning_count": 0}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074650-4a86bc', 'verify', 'completed', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-632f2e', '{}', '2026-11-28 07:46:50.873087', '2026-11-28 07:46:50.89566', 0.009, NULL, '{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.379929Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}, "size_bytes": 23040, "digest": "sha256:e5d91784139fcc71250ca0ba71fda10f95d865b22d49664622b7bc61c3bd25d9", "operation": "20261128-074650-4a86bc", "warnings": [], "warning_count": 0}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074650-d8473d', 'create', 'failed', 'The create ended, because the system refused a file operation: Input/output error. Fix that and start again.', 'storage', 'admin', '192.0.2.1', '20261128-074650-d8473d', '{}', '2026-11-28 07:46:50.920749', '2026-11-28 07:46:51.042966', 0.078, NULL, NULL);
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074651-eea47f', 'inspect', 'completed', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-4dbf93', '{"archive": "/tmp/fx/b/backups/hexhub-backup-20261128-074650-4dbf93.tar", "choice": {"strategy": "skip", "protected": false, "users": false, "packages": ["auth_gate"], "without": []}}', '2026-11-28 07:46:51.197942', '2026-11-28 07:46:51.606317', 0.4, NULL, '{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.586494Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}, "size_bytes": 23040, "digest": "sha256:4ac5e98103168bcfaf776e7cc3a0df0332b4eb65ff19949ca08f23a6ce0152a0", "plan": {"users": {"create": 0, "unchanged": 0, "conflict": 0, "blocked": 0}, "packages": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "releases": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "owners": {"create": 0, "unchanged": 1, "conflict": 0, "blocked": 0}}, "effect": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 1, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 1, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 1, "skipped": 0, "left_out": 0, "not_chosen": 2}}, "plan_hash": "sha256:7ab90f7d63968e2dbc288dc79d0f3502ae1063cfc53d4d9139870904863cabb0", "operation": "20261128-074651-eea47f", "warnings": [], "warning_count": 0}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074651-97cba5', 'inspect', 'completed', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-4dbf93', '{"archive": "/tmp/fx/b/backups/hexhub-backup-20261128-074650-4dbf93.tar", "choice": {"strategy": "overwrite", "protected": false, "users": false, "packages": ["auth_gate"], "without": []}}', '2026-11-28 07:46:51.631014', '2026-11-28 07:46:52.103639', 0.466, NULL, '{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.586494Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}, "size_bytes": 23040, "digest": "sha256:4ac5e98103168bcfaf776e7cc3a0df0332b4eb65ff19949ca08f23a6ce0152a0", "plan": {"users": {"create": 0, "unchanged": 0, "conflict": 0, "blocked": 0}, "packages": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "releases": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "owners": {"create": 0, "unchanged": 1, "conflict": 0, "blocked": 0}}, "effect": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 1, "skipped": 0, "left_out": 0, "not_chosen": 2}}, "plan_hash": "sha256:44ea99c5671afd6c55cb744a61d6b3bce13eb05ba70cdc77b217ce2dfe4c0378", "operation": "20261128-074651-97cba5", "warnings": [], "warning_count": 0}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074652-6b1309', 'restore', 'completed', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-4dbf93', '{"archive": "/tmp/fx/b/backups/hexhub-backup-20261128-074650-4dbf93.tar", "choice": {"strategy": "overwrite", "protected": false, "users": false, "packages": ["auth_gate"], "without": []}, "plan": "20261128-074651-97cba5"}', '2026-11-28 07:46:52.136321', '2026-11-28 07:46:52.85758', 0.658, '2026-11-28 07:46:52.657051', '{"records": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 1, "skipped": 0, "left_out": 0, "not_chosen": 2}}, "files": {"placed": 0, "replaced": 1, "bytes": 5120}, "changed": {"packages": {"count": 1, "names": ["auth_gate"]}, "users": {"count": 0, "names": []}, "credentials": {"count": 0, "names": []}}, "warnings": [], "warning_count": 0, "operation": "20261128-074652-6b1309"}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074652-a88796', 'inspect', 'completed', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-4dbf93', '{"archive": "/tmp/fx/b/backups/hexhub-backup-20261128-074650-4dbf93.tar", "choice": {"strategy": "overwrite", "protected": false, "users": false, "packages": ["billing_core"], "without": []}}', '2026-11-28 07:46:52.875239', '2026-11-28 07:46:53.375261', 0.487, NULL, '{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:50.586494Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}, "size_bytes": 23040, "digest": "sha256:4ac5e98103168bcfaf776e7cc3a0df0332b4eb65ff19949ca08f23a6ce0152a0", "plan": {"users": {"create": 0, "unchanged": 0, "conflict": 0, "blocked": 0}, "packages": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "releases": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "owners": {"create": 0, "unchanged": 2, "conflict": 0, "blocked": 0}}, "effect": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 2, "skipped": 0, "left_out": 0, "not_chosen": 1}}, "plan_hash": "sha256:1f44515b2bed420fc8618fb1ceb31c26ca8a479008ad64517ac5167c7c914ec0", "operation": "20261128-074652-a88796", "warnings": [], "warning_count": 0}');
INSERT INTO public.hexhub_backup_operations VALUES ('20261128-074653-4f55de', 'restore', 'running', NULL, NULL, 'admin', '192.0.2.1', '20261128-074650-4dbf93', '{"archive": "/tmp/fx/b/backups/hexhub-backup-20261128-074650-4dbf93.tar", "choice": {"strategy": "overwrite", "protected": false, "users": false, "packages": ["billing_core"], "without": []}, "plan": "20261128-074652-a88796"}', '2026-11-28 07:46:53.422299', NULL, NULL, '2026-11-28 07:46:53.888782', '{"records": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 2, "skipped": 0, "left_out": 0, "not_chosen": 1}}, "files": {"placed": 0, "replaced": 1, "bytes": 5632}, "changed": {"packages": {"count": 1, "names": ["billing_core"]}, "users": {"count": 0, "names": []}, "credentials": {"count": 0, "names": []}}, "warnings": [], "warning_count": 0}');
INSERT INTO public.hexhub_backup_schedule VALUES ('prune', '2026-11-29 07:46:51.127078');
INSERT INTO public.owners VALUES (1, 1, 1, 'full', '2025-03-21 08:00:00');
INSERT INTO public.owners VALUES (2, 2, 2, 'full', '2025-03-21 11:25:42.857143');
INSERT INTO public.owners VALUES (3, 2, 3, 'maintainer', '2025-03-21 12:25:42.857143');
INSERT INTO public.packages VALUES (3, 'jason', 'hexpm', '{"description": "A blazing fast JSON parser and generator in pure Elixir", "licenses": [], "links": {}, "maintainers": []}', false, 0, '2025-03-01 08:00:00', '2025-03-01 08:00:00', '/packages/jason', '/packages/jason/docs', 'cached');
INSERT INTO public.packages VALUES (4, 'plug', 'hexpm', '{"description": "Compose web applications with functions", "licenses": [], "links": {}, "maintainers": []}', false, 0, '2025-03-02 08:00:00', '2025-03-02 08:00:00', '/packages/plug', '/packages/plug/docs', 'cached');
INSERT INTO public.packages VALUES (1, 'auth_gate', 'hexpm', '{"description": "Sessions, roles and second factors for Plug applications", "licenses": ["MIT"], "links": {"Source": "https://git.example.com/acme/auth_gate"}, "maintainers": ["admin"]}', false, 4840, '2025-03-21 08:00:00', '2025-03-21 08:00:00', '/packages/auth_gate', '/packages/auth_gate/docs', 'local');
INSERT INTO public.packages VALUES (2, 'billing_core', 'hexpm', '{"description": "Invoices, credit notes and dunning, as pure functions", "licenses": ["MPL-2.0"], "links": {"Source": "https://git.example.com/acme/billing_core"}, "maintainers": ["alice"]}', true, 1666, '2025-03-21 11:25:42.857143', '2025-03-21 11:25:42.857143', '/packages/billing_core', '/packages/billing_core/docs', 'local');
INSERT INTO public.releases VALUES (3, 3, '1.4.0', false, '{"build_tools": ["mix"]}', '{}', 'false', 0, '2025-03-01 08:00:00', '2025-03-01 08:00:00', '/packages/jason/releases/1.4.0', '/packages/jason/releases/1.4.0/package', '/packages/jason/releases/1.4.0', '/packages/jason/releases/1.4.0/docs');
INSERT INTO public.releases VALUES (4, 4, '1.4.0', false, '{"build_tools": ["mix"]}', '{}', 'false', 0, '2025-03-02 08:00:00', '2025-03-02 08:00:00', '/packages/plug/releases/1.4.0', '/packages/plug/releases/1.4.0/package', '/packages/plug/releases/1.4.0', '/packages/plug/releases/1.4.0/docs');
INSERT INTO public.releases VALUES (1, 1, '1.0.0-rc.1', true, '{"build_tools": ["mix"]}', '{}', 'true', 4840, '2025-03-21 08:00:00', '2025-03-21 08:00:00', '/packages/auth_gate/releases/1.0.0-rc.1', '/packages/auth_gate/releases/1.0.0-rc.1/package', '/packages/auth_gate/releases/1.0.0-rc.1', '/packages/auth_gate/releases/1.0.0-rc.1/docs');
INSERT INTO public.releases VALUES (2, 2, '1.0.0-rc.1', false, '{"build_tools": ["mix"]}', '{"jason": {"app": "jason", "optional": false, "requirement": "~> 1.0"}}', NULL, 1666, '2025-03-21 11:25:42.857143', '2025-03-21 11:25:42.857143', '/packages/billing_core/releases/1.0.0-rc.1', '/packages/billing_core/releases/1.0.0-rc.1/package', '/packages/billing_core/releases/1.0.0-rc.1', '/packages/billing_core/releases/1.0.0-rc.1/docs');
INSERT INTO public.users VALUES (1, 'admin', 'admin@example.org', 'scrypt:32768:8:1$hexhubdemo$a418948ec0b4e84f27d3471a5dab20737ab9eeb51e5507e3f97750b349ef692d2bd229bdb1555cba1957c400bbddb65c2e12917a304bca1306040e6cbd40cca9', true, false, NULL, 'seeded-0', false, NULL, '2025-03-01 08:00:00', '2025-03-01 08:00:00');
INSERT INTO public.users VALUES (2, 'alice', 'alice@example.org', 'scrypt:32768:8:1$hexhubdemo$a418948ec0b4e84f27d3471a5dab20737ab9eeb51e5507e3f97750b349ef692d2bd229bdb1555cba1957c400bbddb65c2e12917a304bca1306040e6cbd40cca9', false, false, NULL, 'seeded-1', false, NULL, '2025-03-02 08:00:00.104729', '2025-03-02 08:00:00.104729');
INSERT INTO public.users VALUES (3, 'bob.builder', 'bob+hex@example.org', '$2b$04$hexhubdemohexhubdemoheRonu7cqignYTjKbzjQfKcCySWO8YAGy', false, false, NULL, 'seeded-2', false, NULL, '2025-03-03 08:00:00.209458', '2025-03-03 08:00:00.209458');
SELECT pg_catalog.setval('public.api_keys_id_seq', 1, true);
SELECT pg_catalog.setval('public.audit_events_id_seq', 10, true);
SELECT pg_catalog.setval('public.hexhub_backup_audit_events_id_seq', 1, true);
SELECT pg_catalog.setval('public.hexhub_backup_journal_id_seq', 2, true);
SELECT pg_catalog.setval('public.owners_id_seq', 3, true);
SELECT pg_catalog.setval('public.packages_id_seq', 4, true);
SELECT pg_catalog.setval('public.releases_id_seq', 4, true);
SELECT pg_catalog.setval('public.users_id_seq', 3, true);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_key_sha256_key UNIQUE (key_sha256);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_events
    ADD CONSTRAINT audit_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hexhub_backup_audit_events
    ADD CONSTRAINT hexhub_backup_audit_events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hexhub_backup_backups
    ADD CONSTRAINT hexhub_backup_backups_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hexhub_backup_journal
    ADD CONSTRAINT hexhub_backup_journal_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hexhub_backup_operations
    ADD CONSTRAINT hexhub_backup_operations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.hexhub_backup_schedule
    ADD CONSTRAINT hexhub_backup_schedule_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.owners
    ADD CONSTRAINT owners_package_id_user_id_key UNIQUE (package_id, user_id);
ALTER TABLE ONLY public.owners
    ADD CONSTRAINT owners_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.packages
    ADD CONSTRAINT packages_name_key UNIQUE (name);
ALTER TABLE ONLY public.packages
    ADD CONSTRAINT packages_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_package_id_version_key UNIQUE (package_id, version);
ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_email_key UNIQUE (email);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_username_key UNIQUE (username);
CREATE INDEX ix_api_keys_user_id ON public.api_keys USING btree (user_id);
CREATE INDEX ix_audit_events_at ON public.audit_events USING btree (at);
CREATE INDEX ix_hexhub_backup_backups_created_at ON public.hexhub_backup_backups USING btree (created_at);
CREATE INDEX ix_hexhub_backup_journal_operation_id ON public.hexhub_backup_journal USING btree (operation_id);
CREATE INDEX ix_hexhub_backup_operations_started_at ON public.hexhub_backup_operations USING btree (started_at);
CREATE INDEX ix_owners_user_id ON public.owners USING btree (user_id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.owners
    ADD CONSTRAINT owners_package_id_fkey FOREIGN KEY (package_id) REFERENCES public.packages(id);
ALTER TABLE ONLY public.owners
    ADD CONSTRAINT owners_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);
ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_package_id_fkey FOREIGN KEY (package_id) REFERENCES public.packages(id);
