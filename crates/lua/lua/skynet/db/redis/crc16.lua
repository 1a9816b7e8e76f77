-- The checksum that spreads keys over a cluster's slots: CRC-16 with the polynomial 0x1021 and nothing else (XMODEM).

local table_of = {}
for byte = 0, 255 do
	local sum = byte << 8
	for _ = 1, 8 do
		sum = sum << 1 ~ (sum & 0x8000 ~= 0 and 0x1021 or 0)
	end
	table_of[byte] = sum & 0xffff
end

return function(text)
	local sum = 0
	for i = 1, #text do
		sum = (sum << 8 ~ table_of[sum >> 8 ~ text:byte(i)]) & 0xffff
	end
	return sum
end
