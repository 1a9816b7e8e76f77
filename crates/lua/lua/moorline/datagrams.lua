-- Datagram sockets, as `skynet.socket` and `skynet.socketdriver` open them.

local core = require "moorline.core"

-- `literal` finds the address of a host, `open` opens a socket by what it is for, an address to bind it to, and one to send to. Both raise
-- their errors at a level, which is the script's.
return function(literal, open, level)
	local datagrams = {}

	function datagrams.udp(host, port)
		local ip, number
		if host or port then
			ip, number = literal(host or "0.0.0.0", port or 0, level)
		end
		return (open(level, "udp init", ip, number))
	end

	function datagrams.udp_listen(host, port)
		local ip, number = literal(host, port, level)
		return (open(level, "udp listen", ip, number))
	end

	function datagrams.udp_dial(host, port)
		local ip, number = literal(host, port, level)
		return (open(level, "udp dial", nil, nil, ip, number))
	end

	function datagrams.udp_address(address)
		local ip, port = core.socket_udp_address(address)
		if not ip then
			error("Invalid udp address", 2)
		end
		return ip, port
	end

	return datagrams
end
