BEGIN TRANSACTION;
CREATE TABLE api_keys (
	id INTEGER NOT NULL, 
	user_id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	key_sha256 VARCHAR(64) NOT NULL, 
	inserted_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(user_id) REFERENCES users (id), 
	UNIQUE (key_sha256)
);
INSERT INTO "api_keys" VALUES(1,1,'ci','9c92bfa57a06546b05db15d17d6b8d66ed45a9a46806d719081df4c3abdbe7d9','2025-03-01 08:00:00.000000');
CREATE TABLE audit_events (
	id INTEGER NOT NULL, 
	event VARCHAR(64) NOT NULL, 
	actor VARCHAR(255), 
	at DATETIME NOT NULL, 
	address VARCHAR(64), 
	details JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit_events" VALUES(1,'release.published','admin','2025-03-21 08:00:00.000000','192.0.2.10','{"package": "auth_gate", "version": "1.0.0-rc.1"}');
INSERT INTO "audit_events" VALUES(2,'release.published','alice','2025-03-21 11:25:42.857143','192.0.2.10','{"package": "billing_core", "version": "1.0.0-rc.1"}');
INSERT INTO "audit_events" VALUES(3,'backup.created','admin','2026-11-28 07:46:40.132510','192.0.2.1','{"backup": "20261128-074640-b9f1bc", "size_bytes": 23040, "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "missing_files": 0}');
INSERT INTO "audit_events" VALUES(4,'backup.created','admin','2026-11-28 07:46:40.408311','192.0.2.1','{"backup": "20261128-074640-a28906", "size_bytes": 23040, "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "missing_files": 0}');
INSERT INTO "audit_events" VALUES(5,'backup.created','admin','2026-11-28 07:46:40.548503','192.0.2.1','{"backup": "20261128-074640-5d4298", "size_bytes": 23040, "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "missing_files": 0}');
INSERT INTO "audit_events" VALUES(6,'backup.created','admin','2026-11-28 07:46:40.638113','192.0.2.1','{"backup": "20261128-074640-e2cfa5", "size_bytes": 23040, "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "missing_files": 0}');
INSERT INTO "audit_events" VALUES(7,'backup.verified','admin','2026-11-28 07:46:40.712737','192.0.2.1','{"operation": "20261128-074640-62b010", "backup": "20261128-074640-b9f1bc", "state": "completed", "reason": null, "verb": "verify"}');
INSERT INTO "audit_events" VALUES(8,'backup.failed','admin','2026-11-28 07:46:40.789241','192.0.2.1','{"operation": "20261128-074640-c18b42", "backup": "20261128-074640-c18b42", "state": "failed", "reason": "The create ended, because the system refused a file operation: Input/output error. Fix that and start again.", "verb": "create"}');
INSERT INTO "audit_events" VALUES(9,'backup.deleted','admin','2026-11-28 07:46:40.804507','192.0.2.1','{"backup": "20261128-074640-e2cfa5", "reason": "manual"}');
INSERT INTO "audit_events" VALUES(10,'backup.restored','admin','2026-11-28 07:46:41.696572','192.0.2.1','{"operation": "20261128-074641-fdacb8", "records": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 1, "skipped": 0, "left_out": 0, "not_chosen": 2}}, "files": {"placed": 0, "replaced": 1, "bytes": 5120}, "warning_count": 0}');
CREATE TABLE hexhub_backup_audit_events (
	id INTEGER NOT NULL, 
	event VARCHAR(40) NOT NULL, 
	actor TEXT NOT NULL, 
	at DATETIME NOT NULL, 
	address TEXT, 
	details JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "hexhub_backup_audit_events" VALUES(1,'backup.created','admin','2026-11-28 07:46:40.839518','192.0.2.1','{"backup": "20261128-074640-b9f1bc"}');
CREATE TABLE hexhub_backup_backups (
	id VARCHAR(40) NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	reason TEXT, 
	created_at DATETIME NOT NULL, 
	created_by TEXT NOT NULL, 
	duration_seconds FLOAT, 
	size_bytes BIGINT, 
	manifest JSON, 
	warning_count INTEGER NOT NULL, 
	expires_at DATETIME, 
	kept BOOLEAN NOT NULL, 
	adopted BOOLEAN NOT NULL, 
	verified_at DATETIME, 
	intact BOOLEAN, 
	PRIMARY KEY (id)
);
INSERT INTO "hexhub_backup_backups" VALUES('20261128-074640-b9f1bc','completed',NULL,'2026-11-28 07:46:40.046599','admin',0.071,23040,'{"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.091446Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}',0,'2026-12-28 07:46:40.046599',0,0,'2026-11-28 07:46:40.692692',1);
INSERT INTO "hexhub_backup_backups" VALUES('20261128-074640-a28906','completed',NULL,'2026-11-28 07:46:40.152930','admin',0.268,23040,'{"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.333045Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}',0,NULL,1,0,'2026-11-28 07:46:40.436865',1);
INSERT INTO "hexhub_backup_backups" VALUES('20261128-074640-5d4298','completed',NULL,'2026-11-28 07:46:40.456718','admin',0.088,23040,'{"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.526152Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}',0,'2026-12-28 07:46:40.456718',0,0,'2026-11-28 07:46:40.567320',1);
INSERT INTO "hexhub_backup_backups" VALUES('20261128-074640-c18b42','failed','The create ended, because the system refused a file operation: Input/output error. Fix that and start again.','2026-11-28 07:46:40.715662','admin',0.036,NULL,NULL,0,'2026-12-28 07:46:40.715662',0,0,NULL,NULL);
INSERT INTO "hexhub_backup_backups" VALUES('found','completed',NULL,'2026-11-28 07:46:40.613593','admin',NULL,23040,'{"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.618857Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}',0,'2026-12-28 07:46:40.810563',0,1,NULL,NULL);
CREATE TABLE hexhub_backup_journal (
	id INTEGER NOT NULL, 
	operation_id VARCHAR(40) NOT NULL, 
	file_type VARCHAR(10) NOT NULL, 
	package TEXT NOT NULL, 
	version TEXT NOT NULL, 
	action VARCHAR(10) NOT NULL, 
	tag TEXT NOT NULL, 
	record JSON, 
	PRIMARY KEY (id)
);
INSERT INTO "hexhub_backup_journal" VALUES(1,'20261128-074641-187ce0','package','billing_core','1.0.0-rc.1','replace','2237607-15-1795852000849580783 6292c8b17c54333d0449794f91ca2287c29e0adc1bcf06795c54bc6aa1a003e6','{"docs_html_url": "/packages/billing_core/releases/1.0.0-rc.1/docs", "downloads": 1666, "has_docs": false, "html_url": "/packages/billing_core/releases/1.0.0-rc.1", "inserted_at": "2025-03-21T11:25:42.857143Z", "meta": {"build_tools": ["mix"]}, "package_name": "billing_core", "package_url": "/packages/billing_core/releases/1.0.0-rc.1/package", "requirements": {"jason": {"app": "jason", "optional": false, "requirement": "~> 1.0"}}, "retired": null, "updated_at": "2025-03-21T11:25:42.857143Z", "url": "/packages/billing_core/releases/1.0.0-rc.1", "version": "1.0.0-rc.1"}');
CREATE TABLE hexhub_backup_operations (
	id VARCHAR(40) NOT NULL, 
	verb VARCHAR(20) NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	reason TEXT, 
	code VARCHAR(40), 
	actor TEXT NOT NULL, 
	address TEXT, 
	backup_id VARCHAR(40), 
	options JSON NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	duration_seconds FLOAT, 
	decided_at DATETIME, 
	outcome JSON, 
	PRIMARY KEY (id)
);
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074640-b9f1bc','create','completed',NULL,NULL,'admin','192.0.2.1','20261128-074640-b9f1bc','{}','2026-11-28 07:46:40.046599','2026-11-28 07:46:40.136193',0.071,NULL,'{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.091446Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}, "size_bytes": 23040, "operation": "20261128-074640-b9f1bc", "warnings": [], "warning_count": 0}');
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074640-a28906','create','completed',NULL,NULL,'admin','192.0.2.1','20261128-074640-a28906','{}','2026-11-28 07:46:40.152930','2026-11-28 07:46:40.436865',0.268,NULL,'{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.333045Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}, "size_bytes": 23040, "operation": "20261128-074640-a28906", "warnings": [], "warning_count": 0}');
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074640-5d4298','create','completed',NULL,NULL,'admin','192.0.2.1','20261128-074640-5d4298','{}','2026-11-28 07:46:40.456718','2026-11-28 07:46:40.567320',0.088,NULL,'{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.526152Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}, "size_bytes": 23040, "operation": "20261128-074640-5d4298", "warnings": [], "warning_count": 0}');
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074640-e2cfa5','create','completed',NULL,NULL,'admin','192.0.2.1','20261128-074640-e2cfa5','{}','2026-11-28 07:46:40.576913','2026-11-28 07:46:40.640616',0.044,NULL,'{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.618857Z", "created_by": "admin", "contents": {"users": 3, "packages": 2, "releases": 2, "owners": 3, "package_files": 2, "doc_files": 1, "total_size_bytes": 14929}, "checksums": {"users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491"}, "missing_files": []}, "size_bytes": 23040, "operation": "20261128-074640-e2cfa5", "warnings": [], "warning_count": 0}');
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074640-62b010','verify','completed',NULL,NULL,'admin','192.0.2.1','20261128-074640-b9f1bc','{}','2026-11-28 07:46:40.676551','2026-11-28 07:46:40.692692',0.008,NULL,'{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.091446Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}, "size_bytes": 23040, "digest": "sha256:de9cbb6739047dfb7bd7521126ed2a48243a0ec4464b80c2682e6315c0cc7a8a", "operation": "20261128-074640-62b010", "warnings": [], "warning_count": 0}');
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074640-c18b42','create','failed','The create ended, because the system refused a file operation: Input/output error. Fix that and start again.','storage','admin','192.0.2.1','20261128-074640-c18b42','{}','2026-11-28 07:46:40.715662','2026-11-28 07:46:40.776529',0.036,NULL,NULL);
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074640-46ab12','inspect','completed',NULL,NULL,'admin','192.0.2.1','20261128-074640-5d4298','{"archive": "/tmp/fx/a/backups/hexhub-backup-20261128-074640-5d4298.tar", "choice": {"strategy": "skip", "protected": false, "users": false, "packages": ["auth_gate"], "without": []}}','2026-11-28 07:46:40.857296','2026-11-28 07:46:41.026895',0.162,NULL,'{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.526152Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}, "size_bytes": 23040, "digest": "sha256:d10c8150fa6566bedc4dee99e156f13f820ac8c826c3ddd21b730d577980d97c", "plan": {"users": {"create": 0, "unchanged": 0, "conflict": 0, "blocked": 0}, "packages": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "releases": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "owners": {"create": 0, "unchanged": 1, "conflict": 0, "blocked": 0}}, "effect": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 1, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 1, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 1, "skipped": 0, "left_out": 0, "not_chosen": 2}}, "plan_hash": "sha256:aa8183d8d40f61b8114833af05626ac4df77efb84cd1fba635912f839acbf416", "operation": "20261128-074640-46ab12", "warnings": [], "warning_count": 0}');
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074641-8941ba','inspect','completed',NULL,NULL,'admin','192.0.2.1','20261128-074640-5d4298','{"archive": "/tmp/fx/a/backups/hexhub-backup-20261128-074640-5d4298.tar", "choice": {"strategy": "overwrite", "protected": false, "users": false, "packages": ["auth_gate"], "without": []}}','2026-11-28 07:46:41.032562','2026-11-28 07:46:41.236929',0.202,NULL,'{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.526152Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}, "size_bytes": 23040, "digest": "sha256:d10c8150fa6566bedc4dee99e156f13f820ac8c826c3ddd21b730d577980d97c", "plan": {"users": {"create": 0, "unchanged": 0, "conflict": 0, "blocked": 0}, "packages": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "releases": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "owners": {"create": 0, "unchanged": 1, "conflict": 0, "blocked": 0}}, "effect": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 1, "skipped": 0, "left_out": 0, "not_chosen": 2}}, "plan_hash": "sha256:1c7403c1693eeb2f69544eb522e016ae8ce1d6b173cf95eb7aa4d1f500b05acd", "operation": "20261128-074641-8941ba", "warnings": [], "warning_count": 0}');
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074641-fdacb8','restore','completed',NULL,NULL,'admin','192.0.2.1','20261128-074640-5d4298','{"archive": "/tmp/fx/a/backups/hexhub-backup-20261128-074640-5d4298.tar", "choice": {"strategy": "overwrite", "protected": false, "users": false, "packages": ["auth_gate"], "without": []}, "plan": "20261128-074641-8941ba"}','2026-11-28 07:46:41.249517','2026-11-28 07:46:41.712823',0.446,'2026-11-28 07:46:41.580625','{"records": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 1, "skipped": 0, "left_out": 0, "not_chosen": 2}}, "files": {"placed": 0, "replaced": 1, "bytes": 5120}, "changed": {"packages": {"count": 1, "names": ["auth_gate"]}, "users": {"count": 0, "names": []}, "credentials": {"count": 0, "names": []}}, "warnings": [], "warning_count": 0, "operation": "20261128-074641-fdacb8"}');
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074641-0406a1','inspect','completed',NULL,NULL,'admin','192.0.2.1','20261128-074640-5d4298','{"archive": "/tmp/fx/a/backups/hexhub-backup-20261128-074640-5d4298.tar", "choice": {"strategy": "overwrite", "protected": false, "users": false, "packages": ["billing_core"], "without": []}}','2026-11-28 07:46:41.725881','2026-11-28 07:46:41.866371',0.139,NULL,'{"manifest": {"version": "1.0", "hex_hub_version": "1.0.12", "generator": "hexhub_backup 0.1.0", "created_at": "2026-11-28T07:46:40.526152Z", "created_by": "admin", "contents": {"doc_files": 1, "owners": 3, "package_files": 2, "packages": 2, "releases": 2, "total_size_bytes": 14929, "users": 3}, "checksums": {"SHA256SUMS": "sha256:807c2e070ece58f7e1e47b330113374fd93663b2a2ccdde93ac55ce5b0ad1491", "owners.json": "sha256:795eca687a8b422fcb349e7e2aed928c9d9380d0d27905033e925e538e2561d4", "packages/metadata.json": "sha256:9eb7d0f88fcab09fcc6ef0362c7c2561f3e2e2212ffe67b9bfe761c36967b3db", "releases.json": "sha256:f0c2703adebae6a0969fc4c54498a12075b0511b329d81b3fdfb71bc473e7d73", "users.json": "sha256:4a2856074987af5e435cdad6515e5cc9751f689b8e8a76bb72dd0442c9d4ac23"}, "missing_files": []}, "size_bytes": 23040, "digest": "sha256:d10c8150fa6566bedc4dee99e156f13f820ac8c826c3ddd21b730d577980d97c", "plan": {"users": {"create": 0, "unchanged": 0, "conflict": 0, "blocked": 0}, "packages": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "releases": {"create": 0, "unchanged": 0, "conflict": 1, "blocked": 0}, "owners": {"create": 0, "unchanged": 2, "conflict": 0, "blocked": 0}}, "effect": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 2, "skipped": 0, "left_out": 0, "not_chosen": 1}}, "plan_hash": "sha256:3b83529a6d0b0a09dbc918328cddb8396254c83bb15f8a29ec4ac24a8b041c52", "operation": "20261128-074641-0406a1", "warnings": [], "warning_count": 0}');
INSERT INTO "hexhub_backup_operations" VALUES('20261128-074641-187ce0','restore','running',NULL,NULL,'admin','192.0.2.1','20261128-074640-5d4298','{"archive": "/tmp/fx/a/backups/hexhub-backup-20261128-074640-5d4298.tar", "choice": {"strategy": "overwrite", "protected": false, "users": false, "packages": ["billing_core"], "without": []}, "plan": "20261128-074641-0406a1"}','2026-11-28 07:46:41.878070',NULL,NULL,'2026-11-28 07:46:42.228358','{"records": {"users": {"created": 0, "overwritten": 0, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 3}, "packages": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "releases": {"created": 0, "overwritten": 1, "unchanged": 0, "skipped": 0, "left_out": 0, "not_chosen": 1}, "owners": {"created": 0, "overwritten": 0, "unchanged": 2, "skipped": 0, "left_out": 0, "not_chosen": 1}}, "files": {"placed": 0, "replaced": 1, "bytes": 5632}, "changed": {"packages": {"count": 1, "names": ["billing_core"]}, "users": {"count": 0, "names": []}, "credentials": {"count": 0, "names": []}}, "warnings": [], "warning_count": 0}');
CREATE TABLE hexhub_backup_schedule (
	name VARCHAR(20) NOT NULL, 
	due_at DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "hexhub_backup_schedule" VALUES('prune','2026-11-29 07:46:40.838526');
CREATE TABLE owners (
	id INTEGER NOT NULL, 
	package_id INTEGER NOT NULL, 
	user_id INTEGER NOT NULL, 
	level VARCHAR(16) NOT NULL, 
	inserted_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (package_id, user_id), 
	FOREIGN KEY(package_id) REFERENCES packages (id), 
	FOREIGN KEY(user_id) REFERENCES users (id)
);
INSERT INTO "owners" VALUES(1,1,1,'full','2025-03-21 08:00:00.000000');
INSERT INTO "owners" VALUES(2,2,2,'full','2025-03-21 11:25:42.857143');
INSERT INTO "owners" VALUES(3,2,3,'maintainer','2025-03-21 12:25:42.857143');
CREATE TABLE packages (
	id INTEGER NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	repository_name VARCHAR(255) NOT NULL, 
	meta JSON NOT NULL, 
	private BOOLEAN NOT NULL, 
	downloads INTEGER NOT NULL, 
	inserted_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	html_url TEXT, 
	docs_html_url TEXT, 
	source VARCHAR(16) NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "packages" VALUES(1,'auth_gate','hexpm','{"description": "Sessions, roles and second factors for Plug applications", "licenses": ["MIT"], "links": {"Source": "https://git.example.com/acme/auth_gate"}, "maintainers": ["admin"]}',0,4840,'2025-03-21 08:00:00.000000','2025-03-21 08:00:00.000000','/packages/auth_gate','/packages/auth_gate/docs','local');
INSERT INTO "packages" VALUES(2,'billing_core','hexpm','{"description": "Invoices, credit notes and dunning, as pure functions", "licenses": ["MPL-2.0"], "links": {"Source": "https://git.example.com/acme/billing_core"}, "maintainers": ["alice"]}',1,1666,'2025-03-21 11:25:42.857143','2025-03-21 11:25:42.857143','/packages/billing_core','/packages/billing_core/docs','local');
INSERT INTO "packages" VALUES(3,'jason','hexpm','{"description": "A blazing fast JSON parser and generator in pure Elixir", "licenses": [], "links": {}, "maintainers": []}',0,0,'2025-03-01 08:00:00.000000','2025-03-01 08:00:00.000000','/packages/jason','/packages/jason/docs','cached');
INSERT INTO "packages" VALUES(4,'plug','hexpm','{"description": "Compose web applications with functions", "licenses": [], "links": {}, "maintainers": []}',0,0,'2025-03-02 08:00:00.000000','2025-03-02 08:00:00.000000','/packages/plug','/packages/plug/docs','cached');
CREATE TABLE releases (
	id INTEGER NOT NULL, 
	package_id INTEGER NOT NULL, 
	version VARCHAR(255) NOT NULL, 
	has_docs BOOLEAN NOT NULL, 
	meta JSON NOT NULL, 
	requirements JSON NOT NULL, 
	retired JSON, 
	downloads INTEGER NOT NULL, 
	inserted_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	url TEXT, 
	package_url TEXT, 
	html_url TEXT, 
	docs_html_url TEXT, 
	PRIMARY KEY (id), 
	UNIQUE (package_id, version), 
	FOREIGN KEY(package_id) REFERENCES packages (id)
);
INSERT INTO "releases" VALUES(1,1,'1.0.0-rc.1',1,'{"build_tools": ["mix"]}','{}','true',4840,'2025-03-21 08:00:00.000000','2025-03-21 08:00:00.000000','/packages/auth_gate/releases/1.0.0-rc.1','/packages/auth_gate/releases/1.0.0-rc.1/package','/packages/auth_gate/releases/1.0.0-rc.1','/packages/auth_gate/releases/1.0.0-rc.1/docs');
INSERT INTO "releases" VALUES(2,2,'1.0.0-rc.1',0,'{"build_tools": ["mix"]}','{"jason": {"app": "jason", "optional": false, "requirement": "~> 1.0"}}',NULL,1666,'2025-03-21 11:25:42.857143','2025-03-21 11:25:42.857143','/packages/billing_core/releases/1.0.0-rc.1','/packages/billing_core/releases/1.0.0-rc.1/package','/packages/billing_core/releases/1.0.0-rc.1','/packages/billing_core/releases/1.0.0-rc.1/docs');
INSERT INTO "releases" VALUES(3,3,'1.4.0',0,'{"build_tools": ["mix"]}','{}','false',0,'2025-03-01 08:00:00.000000','2025-03-01 08:00:00.000000','/packages/jason/releases/1.4.0','/packages/jason/releases/1.4.0/package','/packages/jason/releases/1.4.0','/packages/jason/releases/1.4.0/docs');
INSERT INTO "releases" VALUES(4,4,'1.4.0',0,'{"build_tools": ["mix"]}','{}','false',0,'2025-03-02 08:00:00.000000','2025-03-02 08:00:00.000000','/packages/plug/releases/1.4.0','/packages/plug/releases/1.4.0/package','/packages/plug/releases/1.4.0','/packages/plug/releases/1.4.0/docs');
CREATE TABLE users (
	id INTEGER NOT NULL, 
	username VARCHAR(255) NOT NULL, 
	email VARCHAR(255) NOT NULL, 
	password_hash TEXT NOT NULL, 
	is_admin BOOLEAN NOT NULL, 
	totp_enabled BOOLEAN NOT NULL, 
	totp_secret VARCHAR(64), 
	session_token VARCHAR(32) NOT NULL, 
	service_account BOOLEAN NOT NULL, 
	deactivated_at DATETIME, 
	inserted_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (username), 
	UNIQUE (email)
);
INSERT INTO "users" VALUES(1,'admin','admin@example.org','scrypt:32768:8:1$hexhubdemo$a418948ec0b4e84f27d3471a5dab20737ab9eeb51e5507e3f97750b349ef692d2bd229bdb1555cba1957c400bbddb65c2e12917a304bca1306040e6cbd40cca9',1,0,NULL,'seeded-0',0,NULL,'2025-03-01 08:00:00.000000','2025-03-01 08:00:00.000000');
INSERT INTO "users" VALUES(2,'alice','alice@example.org','scrypt:32768:8:1$hexhubdemo$a418948ec0b4e84f27d3471a5dab20737ab9eeb51e5507e3f97750b349ef692d2bd229bdb1555cba1957c400bbddb65c2e12917a304bca1306040e6cbd40cca9',0,0,NULL,'seeded-1',0,NULL,'2025-03-02 08:00:00.104729','2025-03-02 08:00:00.104729');
INSERT INTO "users" VALUES(3,'bob.builder','bob+hex@example.org','$2b$04$hexhubdemohexhubdemoheRonu7cqignYTjKbzjQfKcCySWO8YAGy',0,0,NULL,'seeded-2',0,NULL,'2025-03-03 08:00:00.209458','2025-03-03 08:00:00.209458');
CREATE INDEX ix_audit_events_at ON audit_events (at);
CREATE INDEX ix_owners_user_id ON owners (user_id);
CREATE INDEX ix_api_keys_user_id ON api_keys (user_id);
CREATE INDEX ix_hexhub_backup_operations_started_at ON hexhub_backup_operations (started_at);
CREATE INDEX ix_hexhub_backup_backups_created_at ON hexhub_backup_backups (created_at);
CREATE INDEX ix_hexhub_backup_journal_operation_id ON hexhub_backup_journal (operation_id);
COMMIT;
