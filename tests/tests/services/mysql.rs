//! `skynet.db.mysql` against MariaDB, and against a server that proves passwords or lies.

use std::process::Command;
use std::sync::Arc;

use moorline_tests::{Finish, Outsider, Site};

use super::script::passes;

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/mysql_peer.py");

/// Small, and without what others of the machine could meet.
const CONFIG: &str = "[mariadbd]\nport=PORT0\nbind_address=127.0.0.1\ndatadir=FOLDER/data\nsocket=FOLDER/socket\n\
    pid_file=FOLDER/pid\nlog_error=FOLDER/mariadb.log\nskip_name_resolve\nskip_log_bin\ninnodb_buffer_pool_size=16M\n\
    innodb_log_file_size=4M\ninnodb_flush_log_at_trx_commit=0\nmax_allowed_packet=64M\nperformance_schema=off\n";

/// A server of MariaDB with the user `root` and no password.
fn mariadb() -> (Arc<Site>, Outsider) {
    let site = Site::new("moorline", "");
    let mut config = CONFIG.to_owned();
    let mut install = Command::new("mariadb-install-db");
    install.arg("--no-defaults").arg("--skip-test-db");
    install.arg("--auth-root-authentication-method=normal");
    install.arg(format!("--datadir={}", site.path("data").display()));
    if nix::unistd::geteuid().is_root() {
        install.arg("--user=root");
        config.push_str("user=root\n");
    }
    install.finish().expect_success();
    let server = Outsider::start(&site, "mariadbd", &["--defaults-file="], &config, 1);
    (site, server)
}

/// A start function that has a module and what connects.
fn with_mysql(server: &Outsider, body: &str) -> String {
    format!(
        "local mysql = require 'skynet.db.mysql'
        local function connect(more)
            local place = {{ host = '127.0.0.1', port = {}, user = 'root', password = '' }}
            for key, value in pairs(more or {{}}) do place[key] = value end
            return mysql.connect(place)
        end
        local function same(expected, found)
            assert(found == expected and math.type(found) == math.type(expected), tostring(found))
        end
        local function fails(expected, ...)
            local ok, why = pcall(...)
            assert(not ok and tostring(why):find(expected, 1, true), tostring(why))
        end
        {body}",
        server.ports[0]
    )
}

const TABLE: &str = "
    local db = connect()
    db:query 'create database if not exists game character set utf8mb4'
    db:disconnect()
    assert(not pcall(function() return db:ping() end))
    local met = 0
    db = connect {
        database = 'game', charset = 'utf8mb4', max_packet_size = 1 << 24, overload = function() end,
        on_connect = function(self)
            met = met + 1
            assert(self:query \"set names utf8mb4\".affected_rows == 0)
        end,
    }
    assert(met == 1 and db:server_ver():find 'MariaDB')
    db:query 'drop table if exists every'
    local made = db:query [[create table every (id int auto_increment primary key,
        i8 tinyint, u8 tinyint unsigned, i16 smallint, u16 smallint unsigned, i24 mediumint, u24 mediumint unsigned, i32 int,
        u32 int unsigned, i64 bigint, u64 bigint unsigned, single float, twice double, exact decimal(9, 3), moment datetime,
        fine datetime(6), stamp timestamp(3) null, day date, span time, part time(2), years year, bits bit(9), words varchar(90),
        bytes longblob, one enum('a', 'b'), some set('x', 'y'), nothing int)]]
    assert(made.affected_rows == 0 and made.insert_id == 0 and made.warning_count == 0 and made.server_status, made.err)
    local all = {}
    for i = 0, 255 do all[i] = string.char(i) end
    local bytes = table.concat(all, '', 0)
    local filled = db:query([[insert into every values (null, -1, 255, -2, 65535, -3, 16777215, -4, 4294967295, -9223372036854775808,
        9223372036854775807, 1.1, 0.1, 123456.5, '2024-01-02 03:04:05', '2024-01-02 03:04:05.678901', '2024-01-02 03:04:05.678',
        '2024-01-02', '-838:59:59', '12:34:56.78', 2024, b'101010101', ]] .. mysql.quote_sql_str 'it\\'s \"世界\"' .. ', '
        .. mysql.quote_sql_str(bytes) .. [[, 'b', 'x,y', null)]])
    assert(filled.affected_rows == 1 and filled.insert_id == 1, filled.err)
    local expected = {
        id = 1, i8 = -1, u8 = 255, i16 = -2, u16 = 65535, i24 = -3, u24 = 16777215, i32 = -4, u32 = 4294967295, i64 = math.mininteger,
        u64 = math.maxinteger, single = 1.1, twice = 0.1, exact = 123456.5, moment = '2024-01-02 03:04:05',
        fine = '2024-01-02 03:04:05.678901', stamp = '2024-01-02 03:04:05.678', day = '2024-01-02', span = '-838:59:59',
        part = '12:34:56.78', years = 2024, bits = '\\1\\x55', words = 'it\\'s \"世界\"', bytes = bytes, one = 'b', some = 'x,y',
    }
    local function compare(row)
        for key, value in pairs(expected) do same(value, row[key]) end
        for key in pairs(row) do assert(expected[key] ~= nil, key) end
    end
    ";

#[test]
fn queries_and_statements_give_values_of_every_type() {
    let (_site, server) = mariadb();
    let body = with_mysql(
        &server,
        &format!(
            "{TABLE}
            local rows = db:query 'select * from every'
            assert(#rows == 1) compare(rows[1])
            local statement = db:prepare 'select * from every where id = ? and (? is null) and ? = true and ? = \"text\" and ? > 2.4'
            assert(statement.param_count == 5 and #statement.params == 5 and statement.field_count == 27 and #statement.fields == 27)
            assert(statement.fields[2].name == 'i8' and statement.warning_count == 0 and statement.prepare_id)
            rows = db:execute(statement, 1, nil, true, 'text', 2.5)
            assert(#rows == 1, rows.err) compare(rows[1])
            same(0, #db:execute(statement, 1, nil, true, 'text', 2.25))
            fails('require stmt.param_count 5 get arg_num 1', db.execute, db, statement, 1)
            fails('invalid parameter type table', db.execute, db, statement, 1, {{}}, 1, 1, 1)
            same(0, db:stmt_reset(statement).affected_rows)
            assert(#db:execute(statement, 1, nil, true, 'text', 3) == 1)
            db:stmt_close(statement)
            same(1243, db:execute(statement, 1, nil, true, 'text', 2.5).errno)
            same(1243, db:stmt_reset(statement).errno)
            db:query \"insert into every (u64, fine, part) values (18446744073709551615, '2024-01-02', '00:00:00')\"
            local query = 'select u64, fine, part, words from every where id = 2'
            local odd = db:prepare(query)
            for _, row in ipairs {{ db:query(query)[1], db:execute(odd)[1] }} do
                same(0x1p64, row.u64) same('2024-01-02 00:00:00.000000', row.fine) same('00:00:00.00', row.part) same(nil, row.words)
            end
            db:set_compact_arrays(true)
            for _, row in ipairs {{ db:query(query)[1], db:execute(odd)[1] }} do
                same(0x1p64, row[1]) same(nil, row[4]) same(nil, row.u64)
            end
            local compact = connect {{ database = 'game', compact_arrays = true }}
            same('x', compact:query(\"select null, 'x'\")[1][2])
            compact:disconnect()
            local update = db:prepare 'update every set words = ? where id = ?'
            same(1, db:execute(update, 'other', 2).affected_rows)
            same(2, db:execute(update, nil, 2).server_status & 2)
            same(1, db:query 'select count(*) from every where words is null'[1][1])
            local back, text = mysql.quote_sql_str(bytes), 'no quotes'
            same(bytes, db:query('select ' .. back)[1][1])
            same(\"'no quotes'\", mysql.quote_sql_str(text))
            same(0, db:ping().affected_rows)"
        ),
    );
    passes(&body, &[]);
}

#[test]
fn results_errors_and_texts_of_any_size_come_back() {
    let (_site, server) = mariadb();
    let body = with_mysql(
        &server,
        &format!(
            "{TABLE}
            local wrong = db:query 'nonsense'
            assert(wrong.badresult and wrong.errno == 1064 and wrong.sqlstate == '42000' and wrong.err:find 'nonsense')
            wrong = db:prepare 'nonsense ?'
            assert(wrong.badresult and wrong.errno == 1064 and wrong.sqlstate == '42000' and wrong.err:find 'nonsense')
            local many = db:query 'select 1 a union select 2; set @x = 1; select 3 b'
            assert(many.multiresultset and not many.badresult and #many == 3)
            assert(many[1][2].a == 2 and many[2].affected_rows == 0 and many[3][1].b == 3)
            many = db:query 'select 1 a; select * from none; select 2'
            assert(many.multiresultset and many.badresult and many.errno == 1146 and #many == 1 and many[1][1].a == 1)
            -- An error behind the first rows.
            wrong = db:query 'select 1 union all select (select 1 union select 2)'
            assert(wrong.badresult and wrong.errno == 1242, wrong.err)
            db:query 'drop procedure if exists twice'
            db:query 'create procedure twice(n int) begin select n; select 2 * n; end'
            for _, called in ipairs {{ db:query 'call twice(4)', db:execute(db:prepare 'call twice(?)', 4) }} do
                assert(called.multiresultset and #called == 3 and called[1][1].n == 4 and called[2][1]['2 * n'] == 8, called.err)
            end
            local rows = db:query 'select seq from seq_1_to_20000'
            assert(#rows == 20000 and rows[20000].seq == 20000)
            -- Packets end at 16 MiB, with or without something behind them.
            local echo = db:prepare 'select ? as it'
            for _, size in ipairs {{ 250, 251, 65535, 65536, (1 << 24) - 12, (1 << 24) - 11, (1 << 24) - 10, 17 << 20 }} do
                local text = ('x'):rep(size)
                local row = db:query(\"select '\" .. text .. \"' it\")[1]
                assert(row.it == text, size)
                assert(db:execute(echo, text)[1].it == text, size)
            end
            local left = 100
            for i = 1, left do
                skynet.fork(function()
                    same(i, db:query('select ' .. i .. ' it')[1].it)
                    left = left - 1
                end)
            end
            while left > 0 do skynet.sleep(1) end"
        ),
    );
    passes(&body, &[]);
}

#[test]
fn a_lost_connection_is_made_again_without_its_statements() {
    let (_site, server) = mariadb();
    let body = with_mysql(
        &server,
        &format!(
            "{TABLE}
            local echo = db:prepare 'select ? as it'
            assert(db:execute(echo, 'x')[1].it == 'x')
            local other = connect()
            local id = db:query 'select connection_id() it'[1].it
            other:query('kill ' .. id)
            local ok, why = pcall(db.query, db, 'select 1')
            assert(ok or tostring(why) == '[Error: socket]' or why:find 'packet 0 came')
            local lost = db:execute(echo, 'x')
            assert(lost.badresult and lost.errno == 1243 and lost.err:find 'prepare it again', lost.err)
            same(1243, db:stmt_reset(echo).errno)
            db:stmt_close(echo)
            assert(met == 2 and db:query 'select database() it'[1].it == 'game')
            local wrong = db:query 'kill connection_id()'
            assert(wrong.badresult and wrong.errno == 1927)
            other:query 'drop user if exists someone'
            other:query \"create user someone@'%' identified by 'secret'\"
            local someone = connect {{ user = 'someone', password = 'secret' }}
            same('someone@127.0.0.1', someone:query 'select user() it'[1].it)
            fails('[Error: socket]', connect, {{ user = 'someone', password = 'wrong' }})
            fails('[Error: socket]', connect, {{ user = 'someone', password = 'secret', database = 'none' }})
            fails('[Error: socket]', connect, {{ on_connect = function() error 'not this one' end }})
            fails('[Error: socket]', connect, {{ port = 1 }})
            fails('no character set \"klingon\"', connect, {{ charset = 'klingon' }})"
        ),
    );
    passes(&body, &[]);
}

fn peer() -> (Arc<Site>, Outsider) {
    let site = Site::new("moorline", "");
    let server = Outsider::start(&site, "python3", &[PEER], "PORT0", 1);
    (site, server)
}

#[test]
fn passwords_are_proven_in_each_way_and_never_told() {
    let (_site, server) = peer();
    let body = with_mysql(
        &server,
        "for _, user in ipairs { 'fast', 'full', 'switch' } do
            local db = connect { user = user, password = 'secret' }
            same('8.0.99-peer', db:server_ver())
            same(0, db:query('raw 070000010000000200000066').affected_rows)
            db:disconnect()
            fails('[Error: socket]', connect, { user = user, password = 'wrong' })
        end
        connect { user = 'empty' }:disconnect()
        for _, user in ipairs { 'ancient', 'other', 'forger', 'endless', 'garbled', 'nobody' } do
            fails('[Error: socket]', connect, { user = user, password = 'secret' })
        end",
    );
    passes(&body, &[]);
}

/// Says something to each connection, and ends it.
const GREETER: &str = "local skynet = require 'skynet'
    local socket = require 'skynet.socket'
    local greeting = ''
    skynet.start(function()
        local listener, _, port = socket.listen('127.0.0.1', 0)
        socket.start(listener, function(id)
            socket.start(id)
            socket.write(id, greeting)
            socket.close(id)
        end)
        skynet.dispatch('lua', function(_, _, new)
            greeting = new or greeting
            skynet.retpack(port)
        end)
    end)";

#[test]
fn a_greeting_that_is_none_ends_the_login() {
    passes(
        "local mysql = require 'skynet.db.mysql'
        local greeter = skynet.newservice 'greeter'
        local place = { host = '127.0.0.1', port = skynet.call(greeter, 'lua'), user = 'root', password = 'secret' }
        local logged
        skynet.error = function(...) logged = table.concat({ ... }, ' ') .. '\\n' .. (logged or '') end
        local function greets(expected, data, number)
            skynet.call(greeter, 'lua', string.pack('<I3B', #data, number or 0) .. data)
            logged = nil
            local ok, why = pcall(mysql.connect, place)
            assert(not ok and tostring(why) == '[Error: socket]', tostring(why))
            assert(logged:find(expected, 1, true), logged)
        end
        local whole = '\\x0a8.0\\0\\7\\0\\0\\0' .. '12345678\\0' .. '\\xff\\xf7\\xff\\2\\0\\xff\\xdf\\x15' .. ('\\0'):rep(10) .. '901234567890\\0'
        -- Cut anywhere it is none; behind its challenge the name of the proof may be missing.
        for size = 0, #whole - 1 do greets(size == 0 and 'speaks protocol' or 'ends before', whole:sub(1, size)) end
        greets('ends before', whole .. 'caching_sha2_password')
        for _, proof in ipairs { '', 'mysql_native_password\\0', 'unheard_of\\0' } do greets('', whole .. proof) end
        greets('speaks protocol 9', '\\9' .. whole:sub(2))
        greets('packet 3 came where 0 was due', whole, 3)
        greets('older than MySQL 4.1', '\\x0a8.0\\0\\7\\0\\0\\0' .. ('\\0'):rep(99))
        greets('errno:1040, msg:Too many connections,sqlstate:08004', '\\xff\\x10\\4#08004Too many connections')
        greets('errno:1040, msg:Too many connections', '\\xff\\x10\\4Too many connections')
        greets('speaks protocol 120', ('x'):rep(9))",
        &[("greeter.lua", GREETER)],
    );
}

#[test]
fn a_server_that_lies_ends_the_connection_and_nothing_else() {
    let (_site, server) = peer();
    let body = with_mysql(
        &server,
        "local db = connect { user = 'unproven', password = 'secret' }
        local ok = '07000001' .. '00000002000000'
        local function lies(expected, hex, verb, method)
            local fine, found = pcall(db[method or 'query'], db, (verb or 'raw') .. ' ' .. hex)
            if fine and found.badresult then found = found.err end
            assert(tostring(found):find(expected, 1, true), tostring(found))
            same(0, db:query('raw ' .. ok).affected_rows)
        end
        local function packet(number, data)
            return (string.pack('<I3B', #data, number) .. data):gsub('.', function(c) return ('%02x'):format(c:byte()) end)
        end
        local column = '\\3def' .. ('\\0'):rep(3) .. '\\1a\\0' .. '\\12' .. ('\\0'):rep(6) .. '\\3' .. ('\\0'):rep(5)
        local eof = '\\xfe\\0\\0\\0\\0'
        local head = packet(1, '\\1') .. packet(2, column) .. packet(3, eof)
        local cut, short = '[Error: socket]', 'a packet ends before what it says'
        for _, part in ipairs { '', '07', '070000', '07000001', '0700000100', head, head .. packet(4, '\\0011') } do
            lies(cut, part, 'end')
        end
        lies('packet 9 came where 1 was due', packet(9, 'x'))
        lies(short, packet(1, '')) lies(short, packet(1, '\\0')) lies(short, packet(1, '\\0\\xfc')) lies(short, packet(1, '\\xff'))
        lies(short, packet(1, '\\xfe\\1')) lies(short, packet(1, '\\1') .. packet(2, '\\9x'))
        lies(short, packet(1, '\\1') .. packet(2, '\\xfe' .. ('\\xff'):rep(8)))
        lies('a row has 0 columns', packet(1, '\\xfc\\0\\0'))
        lies('a row has 65535 columns', packet(1, '\\xfc\\xff\\xff'))
        lies('this driver never sends one', packet(1, '\\xfb/etc/passwd'))
        lies('more columns than the server says', packet(1, '\\1') .. packet(2, column) .. packet(3, column))
        lies('a row ends before its values', head .. packet(4, '\\5ab'))
        lies(short, head .. packet(4, '\\xfe' .. ('\\xff'):rep(7) .. '\\x7f'))
        lies('no such table', head .. packet(4, '\\xff\\x7a\\4#42S02no such table'))
        lies('a statement begins with another packet', packet(1, '\\5'), nil, 'prepare')
        lies(short, packet(1, '\\0\\1'), nil, 'prepare')
        lies('more columns than the server says', packet(1, '\\0\\1\\0\\0\\0\\1\\0\\0\\0\\0\\0\\0') .. packet(2, column) .. packet(3, column), nil, 'prepare')
        local result, wide = packet(1, '\\0\\0\\0\\x0a\\0\\0\\0'), { packet(1, '\\xfc\\0\\x10') }
        lies('an answer has more than 65536 results', ',' .. result:sub(9), 'flood')
        for i = 1, 4096 do wide[i + 1] = packet(i + 1 & 255, column) end
        wide[4098] = packet(4098 & 255, eof)
        lies('an answer has more than 536870912 bytes', table.concat(wide) .. ',' .. ('fb'):rep(4096), 'flood')
        local function executes(expected, hex)
            db:query('keep ' .. hex)
            local statement = db:prepare('raw ' .. packet(1, '\\0\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0'))
            local fine, found = pcall(db.execute, db, statement)
            assert(not fine and tostring(found):find(expected, 1, true), tostring(found))
        end
        local function kind(number, row)
            local of = column:sub(1, -7) .. string.char(number) .. ('\\0'):rep(5)
            return packet(1, '\\1') .. packet(2, of) .. packet(3, eof) .. packet(4, row)
        end
        executes('a row ends before its values', kind(3, ''))
        executes(short, kind(3, '\\0\\0')) executes(short, kind(8, '\\0\\0\\1\\2')) executes(short, kind(253, '\\0\\0\\xfc\\xff'))
        for _, number in ipairs { 7, 10, 11, 12 } do
            executes('a time has another length', kind(number, '\\0\\0\\13' .. ('\\1'):rep(13)))
        end
        executes(cut, head .. packet(4, '\\0'):sub(1, 8))",
    );
    passes(&body, &[]);
}
