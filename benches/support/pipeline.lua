-- wrk -s pipeline.lua URL -- DEPTH FILE
-- Sends the requests in FILE (whole HTTP/1.1 requests, one behind the other) DEPTH at a time, walking the file round and
-- round as blaster walks its tape. Every call returns exactly DEPTH requests: wrk counts them once, on the first call.

local runs = {}
local current = 0

local function split(text)
   local requests = {}
   local from = 1
   while from <= #text do
      local _, head_end = text:find("\r\n\r\n", from, true)
      if not head_end then
         error("no end of a head after byte " .. from)
      end
      local length = text:sub(from, head_end):lower():match("\ncontent%-length: *(%d+)")
      local to = head_end + (tonumber(length) or 0)
      if to > #text then
         error("the last body is cut short")
      end
      requests[#requests + 1] = text:sub(from, to)
      from = to + 1
   end
   return requests
end

function init(args)
   local depth = assert(tonumber(args[1]), "want -- DEPTH FILE")
   local file = assert(io.open(assert(args[2], "want -- DEPTH FILE"), "rb"))
   local requests = split(file:read("*a"))
   file:close()
   for first = 1, #requests - depth + 1, depth do
      runs[#runs + 1] = table.concat(requests, "", first, first + depth - 1)
   end
   assert(#runs > 0, "fewer requests than DEPTH")
end

function request()
   current = current % #runs + 1
   return runs[current]
end
