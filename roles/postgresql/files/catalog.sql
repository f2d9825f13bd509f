-- What a cluster has, as one JSON value. Verifiers of passwords are among it: whoever registers the answer says no_log.
select json_build_object(
  'roles', (select coalesce(json_object_agg(rolname, json_build_object(
      'verifier', rolpassword, 'login', rolcanlogin, 'createdb', rolcreatedb, 'connection_limit', rolconnlimit,
      'member_of', array(select g.rolname from pg_auth_members m join pg_authid g on g.oid = m.roleid
                         where m.member = a.oid),
      'in_use', exists(select from pg_stat_activity where usesysid = a.oid)
                or exists(select from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = a.oid
                          and classid <> 'pg_auth_members'::regclass),
      'settings', coalesce((select setconfig from pg_db_role_setting where setrole = a.oid and setdatabase = 0), '{}')
    )), '{}') from pg_authid a),
  'databases', (select coalesce(json_object_agg(datname, json_build_object(
      'owner', pg_get_userbyid(datdba), 'public', has_database_privilege('public', oid, 'connect'),
      'encoding', pg_encoding_to_char(encoding), 'locale', datcollate,
      'settings', coalesce((select setconfig from pg_db_role_setting where setdatabase = d.oid and setrole = 0), '{}')
    )), '{}') from pg_database d where not datistemplate),
  -- Each with the schema that it has to be in, if it says so.
  'extensions', (select coalesce(json_object_agg(a.name, v.schema), '{}') from pg_available_extensions a
                 left join pg_available_extension_versions v on v.name = a.name and v.version = a.default_version),
  'pending', (select coalesce(json_agg(name order by name), '[]') from pg_settings where pending_restart),
  'listening', string_to_array(replace(current_setting('listen_addresses'), ' ', ''), ',')
) as catalog
