//! `lpeg`: the manual's examples, what it says of each function, and patterns whose matches LPeg itself has told.

use super::script::{main_of, passes, run, run_with, service};

const TOOLS: &str = "local lpeg = require 'lpeg'
    local P, S, R, V, C, Cc, Cg, Cb, Cs = lpeg.P, lpeg.S, lpeg.R, lpeg.V, lpeg.C, lpeg.Cc, lpeg.Cg, lpeg.Cb, lpeg.Cs
    local Ct, Cf, Cp, Cmt, Carg, B, match = lpeg.Ct, lpeg.Cf, lpeg.Cp, lpeg.Cmt, lpeg.Carg, lpeg.B, lpeg.match
    local function refuses(why, f, ...)
        local ok, err = pcall(f, ...)
        assert(not ok and tostring(err):find(why, 1, true), tostring(err))
    end
    local function list(...) return table.concat({ ... }, ',') end\n";

#[track_caller]
fn holds(body: &str) {
    passes(&format!("{TOOLS}{body}"), &[]);
}

#[test]
fn the_examples_of_the_manual_match() {
    holds(
        "local space = lpeg.space
        lpeg.locale(lpeg)
        local space = lpeg.space ^ 0
        local name = C(lpeg.alpha ^ 1) * space
        local sep = S(',;') * space
        local pair = Cg(name * '=' * space * name) * sep ^ -1
        local pairs_of = Cf(Ct('') * pair ^ 0, rawset)
        local t = pairs_of:match 'a=b, c = hi, next = pi'
        assert(t.a == 'b' and t.c == 'hi' and t.next == 'pi')
        local function split(s, sep)
            sep = P(sep)
            local elem = C((1 - sep) ^ 0)
            return match(Ct(elem * (sep * elem) ^ 0), s)
        end
        assert(list(table.unpack(split('a b c', ' '))) == 'a,b,c' and #split('', ' ') == 1)
        local field = '\"' * Cs(((P(1) - '\"') + P '\"\"' / '\"') ^ 0) * '\"' + C((1 - S ',\\n\"') ^ 0)
        local record = field * (',' * field) ^ 0 * (P '\\n' + -1)
        assert(list(match(record, 'a,\"b,\"\"c\"\"\",,d')) == 'a,b,\"c\",,d')
        local b = P { '(' * ((1 - S '()') + V(1)) ^ 0 * ')' }
        assert(b:match '(a(b)c)d' == 8 and not b:match '(a')
        local function gsub(s, patt, repl)
            return match(Cs((P(patt) / repl + 1) ^ 0), s)
        end
        assert(gsub('hello world', 'o', '0') == 'hell0 w0rld' and gsub('aXbX', 'X', { X = 'yy' }) == 'ayybyy')
        local anywhere = P { Cp() * 'needle' * Cp() + 1 * V(1) }
        assert(list(anywhere:match(('hay '):rep(50000) .. 'needle')) == '200001,200007')
        local count = P { S = 'a' * V 'B' + 'b' * V 'A' + '', A = 'a' * V 'S' + 'b' * V 'A' * V 'A', B = 'b' * V 'S' + 'a' * V 'B' * V 'B',
            'S' } * -1
        assert(count:match 'abbaab' == 7 and not count:match 'abb')
        local open = '[' * Cg(P '=' ^ 0, 'init') * '[' * P '\\n' ^ -1
        local close = ']' * C(P '=' ^ 0) * ']'
        local closeeq = Cmt(close * Cb 'init', function(_, _, a, b) return a == b end)
        local long = open * C((P(1) - closeeq) ^ 0) * close / 1
        assert(long:match '[==[\\n]]]=]x]==]' == ']]]=]x')",
    );
}

#[test]
fn numbers_are_folded_and_accumulated() {
    holds(
        "local number = R '09' ^ 1 / tonumber
        assert(match(Cf(number * (',' * number) ^ 0, function(a, b) return a + b end), '10,30,43') == 83)
        assert(match(number * (',' * number % function(a, b) return a + b end) ^ 0, '10,30,43') == 83)
        local text = C(R 'az' ^ 1)
        local add = function(a, b, ...) assert(select('#', ...) == 0) return a .. '+' .. b end
        assert(list(match(text * ('+' * text % add) ^ 0 * Cp(), 'a+b+c')) == 'a+b+c,6')
        local t = match(Ct(text * (',' * text) ^ 0 * ('+' * text % add) ^ 0), ('a,'):rep(200) .. 'y+z')
        assert(#t == 201 and t[200] == 'a' and t[201] == 'y+z')
        refuses('no previous value for accumulator capture', match, text % add, 'a')
        refuses('invalid context for an accumulator capture', match, Cs(text % add), 'a')
        local space = S ' \\n' ^ 0
        local digits = C(P '-' ^ -1 * R '09' ^ 1) * space
        local term_op, factor_op = C(S '+-') * space, C(S '*/') * space
        local function eval(a, op, b)
            a, b = tonumber(a), tonumber(b)
            if op == '+' then return a + b elseif op == '-' then return a - b elseif op == '*' then return a * b end
            return a / b
        end
        local G = P { 'Exp', Exp = V 'Term' * (term_op * V 'Term' % eval) ^ 0, Term = V 'Factor' * (factor_op * V 'Factor' % eval) ^ 0,
            Factor = digits / tonumber + '(' * space * V 'Exp' * ')' * space } * -1
        assert(G:match '3 + 5*9 / (1+1) - 12' == 13.5)
        local H = P { 'Exp', Exp = Cf(V 'Term' * Cg(term_op * V 'Term') ^ 0, eval), Term = Cf(V 'Factor' * Cg(factor_op * V 'Factor') ^ 0, eval),
            Factor = digits / tonumber + '(' * space * V 'Exp' * ')' * space } * -1
        assert(H:match '3 + 5*9 / (1+1) - 12' == 13.5)
        refuses('no initial value for fold capture', match, Cf(P 'a', rawset), 'a')",
    );
}

#[test]
fn code_points_are_matched() {
    holds(
        "local cont = R '\\128\\191'
        local point = R '\\0\\127' / string.byte
            + R '\\194\\223' * cont / utf8.codepoint + R '\\224\\239' * cont * cont / utf8.codepoint
            + R '\\240\\244' * cont * cont * cont / utf8.codepoint
        assert(list(match(point ^ 0, 'aé€😀')) == '97,233,8364,128512')
        local any = lpeg.utfR(0, 0x10ffff)
        assert(match(any ^ 0, 'aé€😀') == 11 and match(any ^ 0, 'a\\xff') == 2 and not match(any, '\\xc0\\x80'))
        assert(match(lpeg.utfR(0x400, 0x4ff), 'ж') == 3 and not match(lpeg.utfR(0x400, 0x4ff), 'a') and match(lpeg.utfR(97, 98), 'b') == 2)
        assert(match(B(lpeg.utfR(0xe9, 0xe9)) * Cp(), 'é', 3) == 3)
        refuses('empty range', lpeg.utfR, 2, 1)
        refuses('invalid code point', lpeg.utfR, 0, 0x110000)
        refuses('invalid code point', lpeg.utfR, 0, -1)",
    );
}

#[test]
fn values_stand_for_patterns() {
    holds(
        "assert(lpeg.version == 'LPeg 1.1.0' and lpeg.type(P 'a') == 'pattern' and lpeg.type 'a' == nil and lpeg.type(io.stdout) == nil)
        assert(match('ab', 'abc') == 3 and match(2, 'abc') == 3 and match(true, '') == 1 and match(false, '') == nil)
        assert(match(-1, '') == 1 and not match(-1, 'a') and match(P(-3), 'ab') == 1 and match(0, 'a') == 1)
        assert(match(function(s, i) return i + #s end, 'abc') == 4 and match({ 'S', S = P 'a' }, 'a') == 2)
        assert(('a' * P(1)):match 'ab' == 3 and (1 - P 'a'):match 'b' == 2 and (P 'a' + { 'b' * P(true) }):match 'b' == 2)
        assert((P 'a' * function() return true end):match 'a' == 2 and #P 'a' ~= nil and match(#P 'a' * 'ab', 'ab') == 3)
        assert(match(S 'xy' ^ 2, 'xyx') == 4 and not match(S 'xy' ^ 2, 'x') and match(S 'xy' ^ -2, 'xyx') == 3)
        assert(match(P 'a' ^ -3 * Cp(), 'aaaa') == 4 and match(R('az', '09') ^ 0, 'a0-') == 3 and match(R(), 'a') == nil)
        assert(match(P(1), 'abc', -1) == 4 and match(Cp(), 'abc', -9) == 1 and match(Cp(), 'abc', 9) == 4 and match(Cp(), 'abc', 0) == 4)
        assert(match(B 'ab' * C(1), 'abc', 3) == 'c' and not match(B 'x' * 1, 'abc', 3) and match(-B(1), 'abc') == 1)
        assert(match(1, 12) == 2 and P 'a'.match == lpeg.match)
        refuses('lpeg-pattern expected, got nil', P, nil)
        refuses('lpeg-pattern expected, got nil', match, nil, 'a')
        refuses('lpeg-pattern expected, got userdata', P, io.stdout)
        refuses('string expected, got nil', match, P 'a')
        refuses('range must have two characters', R, 'abc')
        refuses('non-nil value expected', V)
        refuses('may not have fixed length', B, P 'a' ^ 0)
        refuses('have captures', B, C 'a')
        refuses('too long to look behind', B, P(256))
        refuses(\"unexpected boolean as 2nd operand to LPeg '/'\", function() return P 'a' / true end)
        refuses('function expected', Cmt, 'a', 'b')
        refuses('invalid argument index', Carg, 0)",
    );
}

#[test]
fn captures_become_values() {
    holds(
        "assert(list(match(C(C 'a' * C 'b'), 'ab')) == 'ab,a,b' and list(match(Cc(1, 2) * Cc(), '')) == '1,2')
        assert(select('#', match(Cc(nil), '')) == 1 and select('#', match(P 'a' / 0 * Cc(nil, nil), 'a')) == 2)
        local t = match(Ct(Cg(C 'a' * C 'b', 'x') * Cg(Cc(5), 7) * C 'c' * Cc(nil, 'e')), 'abc')
        assert(t.x == 'a' and t[7] == 5 and t[1] == 'c' and t[2] == nil and t[3] == 'e')
        assert(list(match(Cg(C(1) * 1, 'n') * Cb 'n' * Cb 'n', 'ab')) == 'a,a' and match(Cg(P(1), 'n') * Cb 'n', 'ab') == 'a')
        refuses(\"back reference 'q' not found\", match, Cb 'q', '')
        refuses(\"back reference 'n' not found\", match, C(Cg(P(1), 'n')) * Cb 'n', 'ab')
        assert(list(match(Carg(2) * Carg(1), 'a', 1, 'x', 'y')) == 'y,x')
        refuses('reference to absent extra argument #3', match, Carg(3), 'a', 1, 'x', 'y')
        assert(match(C(1) * C(1) / '%2%1%%%0', 'ab') == 'ba%ab' and match(C(1) * C(1) / 2, 'ab') == 'b')
        assert(match(Cs(C 'a' / '<%1>' + P 'b' / { b = 7 } + 'c' * Cc '' + 1) ^ 0, 'a') == '<a>')
        assert(match(Cs((C 'a' / '<%1>' + P 'b' / { b = 7 } + P 'c' / { } + 1) ^ 0), 'xabc') == 'x<a>7c')
        refuses('invalid capture index (3)', match, P 'a' / '%3', 'a')
        refuses('invalid replacement value (a table)', match, Cs(Ct 'a'), 'a')
        refuses(\"no capture '2'\", match, P 'a' / 2, 'a')
        assert(list(match(C(1) * C(1) / function(a, b) return b, a, a end, 'ab')) == 'b,a,a' and match(P 'a' / function() end, 'a') == 2)
        local keys = setmetatable({}, { __index = function(_, k) return k .. '!' end })
        assert(match(P 'a' / keys, 'a') == 'a!')
        local calls = 0
        local even = Cmt(C(R '09' ^ 1), function(s, i, n) calls = calls + 1 assert(s == '12,3,' and #n < 3) return n % 2 == 0, n + 1, 'x' end)
        assert(list(match((even * ',' + R '09' * ',') ^ 0 * Cp(), '12,3,')) == '13,x,6' and calls == 2)
        assert(match(Cmt(1, function(s, i) return i + 1 end), 'abc') == 3)
        refuses('invalid position returned by match-time capture', match, Cmt(1, function() return 1 end), 'abc')
        refuses('invalid position returned by match-time capture', match, Cmt(1, function() return 5 end), 'abc')
        local thrown = {}
        local ok, err = pcall(match, P 'a' / function() error(thrown) end, 'a')
        assert(not ok and err == thrown)
        ok, err = pcall(match, Cmt('a', function() error 'no' end), 'a')
        assert(not ok and err:find '^./main.lua:%d+: no$', err)
        assert(match(C(('x'):rep(300)) * C(P 'y' ^ 0), ('x'):rep(300) .. ('y'):rep(300)) == ('x'):rep(300))",
    );
}

#[test]
fn grammars_are_checked_when_they_are_made() {
    holds(
        "refuses(\"rule 'S' may be left recursive\", P, { 'S', S = V 'S' * 'a' })
        refuses(\"rule 'A' may be left recursive\", P, { 'S', S = V 'A', A = P 'x' ^ 0 * V 'A' })
        refuses(\"empty loop in rule 'S'\", P, { 'S', S = V 'A' ^ 0, A = P '' })
        refuses('loop body may accept empty string', function() return (P 'a' ^ 0) ^ 0 end)
        refuses('loop body may accept empty string', function() return (P 'a' + '') ^ 1 end)
        refuses(\"rule 'X' undefined in given grammar\", P, { V 'X' })
        refuses('undefined in given grammar', P, { V(true) })
        refuses(\"rule 'X' used outside a grammar\", match, V 'X', 'a')
        refuses('grammar has no initial rule', P, {})
        refuses(\"initial rule 'S' is not a pattern\", P, { 'S', S = 'a' })
        refuses(\"rule 'A' is not a pattern\", P, { 'S', S = P 'a', A = 1 })
        local inner = P { 'S', S = 'b' * V 'T', T = P 'c' }
        local outer = P { 'S', S = 'a' * inner * V 'T', T = C 'd' }
        assert(outer:match 'abcd' == 'd')
        local named = P { [1] = V(true) * V(2.5), [true] = P 'x', [2.5] = P 'y' }
        assert(named:match 'xy' == 3)
        local rules = { 'r1' }
        for i = 1, 1000 do rules['r' .. i] = i < 1000 and 'a' * V('r' .. i + 1) or P 'b' end
        assert(P(rules):match(('a'):rep(999) .. 'b') == 1001)
        rules.r1001 = P 'c'
        refuses('grammar has too many rules', P, rules)",
    );
}

#[test]
fn what_grows_has_limits() {
    holds(
        "local nested = P { '(' * V(1) * ')' + '' }
        local function deep(n) return ('('):rep(n) .. (')'):rep(n) end
        assert(nested:match(deep(150)) == 301)
        refuses('backtrack stack overflow (current limit is 400)', match, nested, deep(1000))
        lpeg.setmaxstack(10000)
        assert(nested:match(deep(1000)) == 2001)
        refuses('backtrack stack overflow (current limit is 10000)', match, nested, deep(20000))
        lpeg.setmaxstack(1 << 40)
        refuses('backtrack stack overflow (current limit is 1048576)', match, nested, deep(1 << 20))
        refuses('out of range', lpeg.setmaxstack, 0)
        assert(P { 'a' * V(1) + P 'b' }:match(('a'):rep(100000) .. 'b') == 100002)
        local tables = P { Ct('(' * V(1) * ')' + '') }
        assert(tables:match(deep(100))[1][1])
        refuses('subcapture nesting too deep', match, tables, deep(250))
        local p = P 'ab' * C(1)
        refuses('pattern too big', function() for _ = 1, 30 do p = p * p end end)
        refuses('pattern too big', function() return P 'ab' ^ 1000000 end)
        refuses('pattern too big', P, ('x'):rep(1 << 23))
        local q = P 'a'
        refuses('pattern too deep', function() for _ = 1, 1000 do q = C(q) end end)
        assert(select('#', match(Cc(table.unpack({}, 1, 70000)), '')) == 70000)
        local many = {}
        for i = 1, 65536 do many[i] = i end
        refuses('too many Lua values in pattern', Cc, table.unpack(many))
        refuses('too many captures (limit is 4194304)', match, Cs((Cp() * 1) ^ 0), ('x'):rep(4194305))
        refuses('too many captures (limit is 200000 values)', match, C(1) ^ 0, ('x'):rep(200001))
        refuses('too many runtime captures', match, Cmt(1, function() return true, 1 end) ^ 0, ('x'):rep(200001))
        refuses('text of captures too long (limit is 67108864 bytes)', match, Cs((P(1) / ('%0'):rep(10000)) ^ 0), ('x'):rep(7000))
        assert(#match(Ct(C(1) ^ 0), ('x'):rep(210000)) == 210000)
        assert(match(Cmt(1, function() return true end) ^ 0, ('x'):rep(5000)) == 5001)",
    );
}

#[test]
fn a_match_that_takes_for_ever_is_named_and_ends_by_a_signal() {
    let bad = service(
        "local lpeg = require 'lpeg'
        local P, V = lpeg.P, lpeg.V
        local slow = P { 'S', S = V 'A' * 'b' + V 'A' * 'c', A = 'a' * V 'A' * 'x' + 'a' * V 'A' * 'y' + P 'a' }
        local spans = (P { #(lpeg.S 'ab' ^ 0 * 'c') + 1 * V(1) })
        function C.slow() return slow:match(('a'):rep(60)) end
        function C.spans() return spans:match(('ab'):rep(4 << 20)) end
        local twice = lpeg.Cg(lpeg.Cb 'n' * lpeg.Cb 'n' / 1, 'n')
        local values = lpeg.Cg(lpeg.Cc 'x', 'n')
        for _ = 1, 60 do values = values * twice end
        function C.values() return (values * lpeg.Cb 'n'):match '' end
        function C.ok() skynet.retpack 'ok' end",
    );
    let main = main_of(
        "local core = require 'moorline.core'
        local bad = skynet.newservice 'bad'
        for _, command in ipairs { 'slow', 'spans', 'values' } do
            local why
            skynet.fork(function() why = select(2, pcall(skynet.call, bad, 'lua', command)) end)
            repeat skynet.sleep(10) core.signal(bad, 0) until why
            assert(why:find 'call failed', why)
            assert(skynet.call(bad, 'lua', 'ok') == 'ok')
        end",
    );
    let files = [("main.lua", main.as_str()), ("bad.lua", bad.as_str())];
    let finished = run_with(&files, &["--loops", "2"]).expect_success();
    let said = finished.said();
    assert!(said.contains("signal 0"), "{said}");
}

#[test]
fn patterns_count_as_memory_of_the_script_and_are_collected() {
    let bad = service(
        "local lpeg = require 'lpeg'
        function C.texts() local t = {} while true do t[#t + 1] = lpeg.P(('x'):rep(1 << 20) .. #t) end end
        function C.codes()
            local word, t = lpeg.P 'ab' + 'cd', {}
            while true do
                local p = (word * #t) ^ -1000
                p:match 'ab'
                t[#t + 1] = p
            end
        end
        function C.garbage()
            for i = 1, 1500 do
                local p
                p = lpeg.P(('x'):rep(1 << 14) .. i) / function() return p end
                assert(not p:match 'y')
            end
            skynet.retpack(collectgarbage 'count' < 11 * 1024)
        end
        function C.limit() skynet.memlimit(12 << 20) skynet.retpack() end
        function C.ok() skynet.retpack 'ok' end",
    );
    passes(
        "local bad = skynet.newservice 'bad'
        skynet.call(bad, 'lua', 'limit')
        for _, command in ipairs { 'texts', 'codes' } do
            assert(not pcall(skynet.call, bad, 'lua', command))
            assert(skynet.call(bad, 'lua', 'ok') == 'ok')
        end
        assert(skynet.call(bad, 'lua', 'garbage'))",
        &[("bad.lua", &bad)],
    );
}

// The answers are those of LPeg 1.0.2, as Debian packages it.
#[test]
fn patterns_of_seeds_match_as_in_lpeg() {
    let main = main_of(
        "local line, count = require 'seeds', 0
        for answer in io.lines 'answers.txt' do
            local found = line(tonumber(answer:match '^%d+'))
            assert(found == answer, answer .. '\\n' .. found)
            count = count + 1
        end
        print(count)",
    );
    let files = [
        ("main.lua", main.as_str()),
        ("seeds.lua", include_str!("lpeg/seeds.lua")),
        ("answers.txt", include_str!("lpeg/answers.txt")),
    ];
    let finished = run(&files).expect_success();
    assert!(finished.stdout.ends_with("500\n"), "{finished:#?}");
}

#[test]
fn a_pattern_is_shown_as_instructions() {
    let main = main_of(
        "local lpeg = require 'lpeg' lpeg.pcode(lpeg.P 'ab' * lpeg.C(1)) lpeg.ptree(lpeg.P 'ab')",
    );
    let finished = run(&[("main.lua", main.as_str())]).expect_success();
    assert!(
        finished.stdout.contains("00: Text(0, 2)\n"),
        "{finished:#?}"
    );
    assert!(finished.stdout.contains("Text("), "{finished:#?}");
}
