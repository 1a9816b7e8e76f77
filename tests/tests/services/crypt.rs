//! `skynet.crypt`, `client.crypt` and `md5`: answers that are known from elsewhere, and input that is refused.

use super::script::{passes, service};

/// What the tests below call: bytes as digits, and what `pcall` says.
const TOOLS: &str = "local crypt = require 'skynet.crypt'
    local md5 = require 'md5'
    local hex, raw = crypt.hexencode, crypt.hexdecode
    local function refuses(why, f, ...)
        local ok, err = pcall(f, ...)
        assert(not ok and type(err) == 'string' and err:find(why, 1, true), err)
    end\n";

#[track_caller]
fn holds(body: &str) {
    passes(&format!("{TOOLS}{body}"), &[]);
}

// FIPS 180-1 and RFC 2202, RFC 1321 and RFC 2104, RFC 4648.
#[test]
fn hashes_and_texts_are_those_of_the_standards() {
    holds(
        "assert(hex(crypt.sha1 'abc') == 'a9993e364706816aba3e25717850c26c9cd0d89d')
        assert(hex(crypt.sha1 '') == 'da39a3ee5e6b4b0d3255bfef95601890afd80709')
        assert(hex(crypt.hmac_sha1(('\\x0b'):rep(20), 'Hi There')) == 'b617318655057264e28bc0b6fb378c8ef146be00')
        assert(hex(crypt.hmac_sha1('Jefe', 'what do ya want for nothing?')) == 'effcdf6ae5eb2fa2d27416d5f184df9c259a7c79')
        assert(hex(crypt.hmac_sha1(('\\xaa'):rep(80), 'Test Using Larger Than Block-Size Key - Hash Key First'))
            == 'aa4ae5e15272d00e95705637ce8a3b55ed402112')
        assert(md5.sumhexa 'message digest' == 'f96b697d7cb7938d525a2f31aaf161d0')
        assert(hex(md5.sum '') == 'd41d8cd98f00b204e9800998ecf8427e')
        assert(md5.hmacmd5('what do ya want for nothing?', 'Jefe') == '750c783e6ab0b503eaa86e310a5db738')
        for text, coded in pairs { [''] = '', f = 'Zg==', fo = 'Zm8=', foo = 'Zm9v', foobar = 'Zm9vYmFy' } do
            assert(crypt.base64encode(text) == coded and crypt.base64decode(coded) == text)
        end
        assert(crypt.base64decode 'Zm\\n9v-YmFy' == 'foobar', 'other signs are skipped')
        refuses('Invalid base64 text', crypt.base64decode, 'Zg=')
        refuses('Invalid base64 text', crypt.base64decode, 'Zh==')
        refuses('Invalid base64 text', crypt.base64decode, '=AAA')
        assert(hex '\\0\\xff' == '00ff' and raw '00ff' == '\\0\\xff' and raw '' == '')
        refuses('Invalid hex text size 3', raw, 'abc')
        refuses('Invalid hex text', raw, 'xy')
        assert(require 'client.crypt'.sha1 'abc' == crypt.sha1 'abc' and require 'md5.core'.sum 'a' == md5.sum 'a')",
    );
}

// FIPS 46-3's example, and the padding by what it must be.
#[test]
fn texts_go_through_des_and_back() {
    holds(
        "local key = raw '133457799bbcdff1'
        local coded = crypt.desencode(key, raw '0123456789abcdef')
        assert(#coded == 16 and hex(coded:sub(1, 8)) == '85e813540f0ab405')
        for _, padding in ipairs { crypt.padding.iso7816_4, crypt.padding.pkcs7 } do
            for length = 0, 20 do
                local text = ('x'):rep(length)
                local coded = crypt.desencode(key, text, padding)
                assert(#coded == (length // 8 + 1) * 8 and crypt.desdecode(key, coded, padding) == text)
            end
        end
        assert(crypt.padding.iso7816_4 == 0 and crypt.padding.pkcs7 == 1)
        assert(crypt.desdecode(key, crypt.desencode(key, 'abc')) == 'abc')
        refuses('Invalid key size 3, need 8 bytes', crypt.desencode, 'key', '')
        refuses('Invalid padding mode 2', crypt.desencode, key, '', 2)
        refuses('Invalid des crypt text length 0', crypt.desdecode, key, '')
        refuses('Invalid des crypt text length 9', crypt.desdecode, key, 'nine text')
        refuses('Invalid des crypt text', crypt.desdecode, key, crypt.desencode(key, 'abc'), 1)",
    );
}

// There is no standard for these. The values come from a second implementation in Python: hashes and rounds of MD5 from their
// definitions, `pow(5, x, 2**64 - 59)` with integers of any size, and `hashlib.md5`.
#[test]
fn hashes_of_64_bits_and_keys_are_as_skynet_makes_them() {
    holds(
        "local a, b = '\\1\\2\\3\\4\\5\\6\\7\\8', 'abcdefgh'
        assert(hex(crypt.hashkey 'abc') == '8b5c880ba1179b1a' and hex(crypt.hashkey '') == '05150000a7c6674e')
        assert(hex(crypt.hmac64(a, b)) == 'c33a3fabc0e7c128' and hex(crypt.hmac64(b, a)) == '03f66081e16fd0d8')
        assert(hex(crypt.hmac_hash(a, 'hello')) == '7a3851a6280017c1')
        assert(crypt.hmac_hash(a, 'hello') == crypt.hmac64(crypt.hashkey 'hello', a))
        assert(hex(crypt.hmac64_md5(a, b)) == 'ecaeeab22183c5f2')
        local sum = md5.sum((a .. b):rep(3))
        assert(crypt.hmac64_md5(a, b) == crypt.xor_str(sum:sub(1, 8), sum:sub(9, 16)))
        assert(hex(crypt.dhexchange(a)) == '984e1418283235ed' and hex(crypt.dhexchange(b)) == 'c3c0880df34049bd')
        assert(hex(crypt.dhsecret(crypt.dhexchange(a), b)) == 'e18a5ff6f15769ce')
        assert(crypt.dhsecret(crypt.dhexchange(b), a) == crypt.dhsecret(crypt.dhexchange(a), b))
        local seen = {}
        for _ = 1, 100 do
            local key = crypt.randomkey()
            assert(#key == 8 and not seen[key] and key ~= ('\\0'):rep(8))
            seen[key] = true
        end
        refuses('Invalid uint64 x', crypt.hmac64, 'short', a)
        refuses('Invalid uint64 y', crypt.dhsecret, a, 'short')
        refuses('Invalid uint64 key', crypt.hmac_hash, 'short', a)
        refuses('Invalid dh uint64 key', crypt.dhexchange, 'short')
        refuses(\"Can't be 0\", crypt.dhexchange, ('\\0'):rep(8))
        refuses(\"Can't be 0\", crypt.dhsecret, a, ('\\0'):rep(8))
        assert(crypt.xor_str('abc', ' ') == 'ABC' and crypt.xor_str('aabb', '\\1\\2') == '`cc`')
        assert(crypt.xor_str(crypt.xor_str('a text', 'key'), 'key') == 'a text')
        refuses(\"Can't xor empty string\", crypt.xor_str, 'abc', '')
        refuses(\"bad argument #1 to 'sha1' (string expected, got table)\", crypt.sha1, {})",
    );
}

// The encrypted text comes from a second implementation in Python.
#[test]
fn texts_go_through_md5_as_a_cipher_and_back() {
    holds(
        "local text = 'a text of more than sixteen bytes'
        local coded = md5.crypt(text, 'key', 'seed')
        assert(hex(coded) == '0473656564cec53dbe59bea55693b8e3e8ab007a6054ebcfa6ae7d0631dcf2a74691eaa0e287')
        assert(md5.decrypt(coded, 'key') == text and md5.decrypt(md5.crypt(text, 'key'), 'key') == text)
        assert(md5.decrypt(md5.crypt('', '', ''), '') == '')
        assert(md5.exor('abc', '   ') == 'ABC')
        refuses('lengths must be equal', md5.exor, 'abc', 'a')
        refuses('seed too long (> 16)', md5.crypt, text, 'key', ('s'):rep(17))
        refuses('key too long (> 256)', md5.crypt, text, ('k'):rep(257))
        for _, broken in ipairs { '', '\\5abc', '\\x11' .. ('s'):rep(40), '\\xff' } do
            refuses('invalid cyphered string', md5.decrypt, broken, 'key')
        end",
    );
}

#[test]
fn a_client_proves_what_it_knows_without_sending_it() {
    let server = service(
        "local crypt = require 'skynet.crypt'
        local challenge, secret = crypt.randomkey(), nil
        function C.challenge() skynet.retpack(crypt.base64encode(challenge)) end
        function C.exchange(_, _, theirs)
            local mine = crypt.randomkey()
            secret = crypt.dhsecret(crypt.base64decode(theirs), mine)
            skynet.retpack(crypt.base64encode(crypt.dhexchange(mine)))
        end
        function C.login(_, _, proof, token)
            assert(crypt.base64decode(proof) == crypt.hmac64(challenge, secret), 'challenge failed')
            skynet.retpack(crypt.desdecode(secret, crypt.base64decode(token)))
        end",
    );
    passes(
        "local crypt = require 'client.crypt'
        local server = skynet.newservice 'server'
        local challenge = crypt.base64decode(skynet.call(server, 'lua', 'challenge'))
        local mine = crypt.randomkey()
        local theirs = skynet.call(server, 'lua', 'exchange', crypt.base64encode(crypt.dhexchange(mine)))
        local secret = crypt.dhsecret(crypt.base64decode(theirs), mine)
        local proof = crypt.base64encode(crypt.hmac64(challenge, secret))
        local token = crypt.base64encode(crypt.desencode(secret, 'hello@sample:password'))
        assert(skynet.call(server, 'lua', 'login', proof, token) == 'hello@sample:password')
        assert(not pcall(skynet.call, server, 'lua', 'login', crypt.base64encode 'nothing', token))",
        &[("server.lua", &server)],
    );
}
