//! `re`: patterns of LPeg as texts, with the manual's examples.

use super::script::{main_of, passes, run};

const TOOLS: &str = "local re = require 're'
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
        "assert(list(re.find('the number 423 is odd', '[0-9]+')) == '12,14')
        assert(list(re.find('the number 423 is odd', '{[0-9]+}', 13)) == '13,14' and re.find('a', '\"b\"') == nil)
        assert(re.match('the number 423 is odd', \"s <- ({%d+} / . s)\") == '423')
        assert(re.gsub('hello World', '[aeiou]', '.') == 'h.ll. W.rld' and re.gsub('abc', '{.}', { b = 'x' }) == 'axc')
        assert(re.gsub('ab', '.', string.upper) == 'AB')
        assert(re.match('  a = 1;', '%s* {%w+} %s* \"=\" %s* {%w+}') == 'a')
        local csv = re.compile [[
            record <- {| field (',' field)* |} (%nl / !.)
            field <- escaped / nonescaped
            nonescaped <- { [^,\"%nl]* }
            escaped <- '\"' {~ ([^\"] / '\"\"' -> '\"')* ~} '\"'
        ]]
        assert(list(table.unpack(csv:match 'a,\"b \"\"c\"\"\",,d')) == 'a,b \"c\",,d')
        local list_of = re.compile [[
            list <- {| sp expr* |}   -- a comment
            expr <- {:tag: name :} / '(' list ')' sp
            name <- [a-z]+ sp
            sp <- %s*
        ]]
        assert(list_of:match '(a)(b)'[2].tag == 'b')
        local balanced = re.compile \"balanced <- '(' ([^()] / balanced)* ')'\"
        assert(balanced:match '(a(b)c)' == 8)
        local long = re.compile([[
            longstring <- ('[' {:eq: '='* :} '[' close)
            close <- ']' =eq ']' / . close
        ]])
        assert(long:match '[==[]]===]]]]==]===[]' == 17)
        local tabs = re.compile('{~ (!%nl . / %nl)* -> twice ~}', { twice = function(s) return s .. s end })
        assert(tabs:match 'ab' == 'abab')
        local sum = re.compile([[
            exp <- num ('+' num >> add)*
            num <- %d+ -> tonumber
        ]], { tonumber = tonumber, add = function(a, b) return a + b end })
        assert(sum:match '1+22+333' == 356)
        local even = re.compile('{%d+} => even', { even = function(_, i, n) return n % 2 == 0, n end })
        assert(even:match '12' == '12' and not even:match '13')",
    );
}

#[test]
fn each_form_is_what_the_manual_says() {
    holds(
        "local m = re.match
        assert(m('aab', \"'a'+ 'b'?\") == 4 and m('aaa', \"'a'^2\") == 3 and m('aaa', \"'a'^+2\") == 4 and m('aaa', \"'a'^-2\") == 3)
        assert(not m('a', \"'a'^2\") and m('', \"'a'*\") == 1 and m('b', \"!'a' .\") == 2 and m('a', \"&'a' .\") == 2)
        assert(m(']a', '[]a]+') == 3 and m('-', '[a-]') == 2 and m('x', '[^a-c]') == 2 and m('7_', '[_%d]+') == 3)
        assert(list(m('ab', '{} {.} {}')) == '1,a,2' and m('ab', '({.}{.}) -> 2') == 'b' and m('ab', '({.}{.}) -> \"%2%1\"') == 'ba')
        assert(m('ab', '{.}{.} -> {}') == 'a' and #m('ab', '({.}{.}) -> {}') == 2 and m('ab', '. . -> 0') == 3)
        assert(m('abab', '{:x: .. :} =x') == 5 and m('ab', '{| {:x: . :} {:y: . :} |}').y == 'b')
        assert(m('Ab', '%u %l') == 3 and m('a', '%A') == nil and m('\\n', '%nl') == 2)
        local p = re.compile(\"'a'\")
        assert(re.compile(p) == p and m('a', p) == 2 and m('xa', p, 2) == 3)
        assert(m('ab', re.compile('%x', { x = 'ab' })) == 3 and m('', re.compile('%x', { x = function() return true end })) == 1)",
    );
}

#[test]
fn a_text_that_is_no_pattern_is_refused_with_its_place() {
    holds(
        "refuses('./main.lua:', function() local p = re.compile \"'a\" return p end)
        refuses(\"pattern error near ''a'\", re.compile, \"'a\")
        refuses(\"pattern error near '(\", re.compile, \"(\")
        refuses(\"pattern error near ')'\", re.compile, \"'a')\")
        refuses(\"pattern error near '[a'\", re.compile, '[a')
        refuses(\"pattern error near '^x'\", re.compile, \"'a' ^x\")
        refuses(\"name 'nope' undefined\", re.compile, '%nope')
        refuses('undefined name: nope', re.compile, \"'a' -> nope\")
        refuses(\"rule 'x' used outside a grammar\", re.compile, 'x')
        refuses(\"rule 'y' undefined in given grammar\", re.compile, 'x <- y')
        refuses(\"rule 'x' may be left recursive\", re.compile, 'x <- x')
        refuses(\"'x' already defined as a rule\", re.compile, 'x <- . x <- .')
        refuses('loop body may accept empty string', re.compile, \"('a'*)*\")
        refuses('pattern too deep', re.compile, ('('):rep(1000) .. '{' .. ('{'):rep(400) .. '.' .. ('}'):rep(401) .. (')'):rep(1000))
        refuses('string expected, got nil', re.compile, nil)
        refuses('pattern too big', re.compile, '(. %a)^9999999')
        re.updatelocale()",
    );
}

#[test]
fn a_module_of_the_scripts_own_with_its_name_comes_first() {
    let main = main_of("print((require 're'))");
    let files = [("main.lua", main.as_str()), ("re.lua", "return 'own'")];
    let finished = run(&files).expect_success();
    assert_eq!(finished.stdout, "own\n");
}
