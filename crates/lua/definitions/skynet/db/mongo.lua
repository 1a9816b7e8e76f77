---@meta skynet.db.mongo

---A client of MongoDB.
---@class skynet.db.mongo
---@field maxkey any
---@field minkey any
---@field null any
local mongo = {}

---Connects by `host`, `port`, `username`, `password`, `authdb`, `authmod`, or `rs`: a list of hosts.
---@param conf table
---@return skynet.db.mongo.client client
function mongo.client(conf) end

---Adds what is not there by itself: `"transaction"`.
---@param name string
function mongo.enable(name) end

---The type of a value of BSON.
---@param value any
---@return string type
---@return any value
function mongo.type(value) end

---@class skynet.db.mongo.client
---@field [string] skynet.db.mongo.database A database by its name.
local client = {}

---A database by its name.
---@param dbname string
---@return skynet.db.mongo.database database
function client:getDB(dbname) end

---Closes the connection.
function client:disconnect() end

---The number of a request.
---@return integer id
function client:genId() end

---Runs a command in the database `admin`.
---@param ... any
---@return table result
function client:runCommand(...) end

---Writes to several collections at once, since MongoDB 8.0.
---@param operations table[]
---@param namespaces table[]
---@param ordered? boolean
---@param errors_only? boolean
---@param more? table Other fields of the command.
---@return boolean ok
---@return any why
---@return table result
function client:bulkWrite(operations, namespaces, ordered, errors_only, more) end

---Logs out.
---@return boolean ok
function client:logout() end

---@class skynet.db.mongo.database
---@field [string] skynet.db.mongo.collection A collection by its name.
local database = {}

---Logs in.
---@param user string
---@param pass string
---@return boolean ok
---@return any why
function database:auth(user, pass) end

---Runs a command: its name and value, then keys and values in order.
---@param cmd string
---@param cmd_v any
---@param ... any
---@return table result
function database:runCommand(cmd, cmd_v, ...) end

---Runs a command without an answer.
---@param cmd string
---@param cmd_v any
---@param ... any
function database:send_command(cmd, cmd_v, ...) end

---A collection by its name.
---@param collection string
---@return skynet.db.mongo.collection collection
function database:getCollection(collection) end

---@class skynet.db.mongo.collection
local collection = {}

---Inserts a document, without an answer.
---@param doc table
function collection:insert(doc) end

---Inserts a document.
---@param doc table
---@return boolean ok
---@return any why
---@return table result
function collection:safe_insert(doc) end

---Inserts a document of BSON.
---@param doc table|userdata
---@return boolean ok
---@return any why
---@return table result
function collection:raw_safe_insert(doc) end

---Inserts documents, without an answer.
---@param docs table[]
function collection:batch_insert(docs) end

---Inserts documents.
---@param docs table[]
---@return boolean ok
---@return any why
---@return table result
function collection:safe_batch_insert(docs) end

---Changes documents, without an answer.
---@param query table
---@param update table
---@param upsert? boolean
---@param multi? boolean
function collection:update(query, update, upsert, multi) end

---Changes documents.
---@param query table
---@param update table
---@param upsert? boolean
---@param multi? boolean
---@return boolean ok
---@return any why
---@return table result
function collection:safe_update(query, update, upsert, multi) end

---Makes several changes, without an answer.
---@param updates table[]
function collection:batch_update(updates) end

---Makes several changes.
---@param updates table[]
---@return boolean ok
---@return any why
---@return table result
function collection:safe_batch_update(updates) end

---Makes a change of BSON.
---@param update table|userdata
---@return boolean ok
---@return any why
---@return table result
function collection:raw_safe_update(update) end

---Removes documents, without an answer.
---@param query table
---@param single? boolean
function collection:delete(query, single) end

---Removes documents.
---@param query table
---@param single? boolean
---@return boolean ok
---@return any why
---@return table result
function collection:safe_delete(query, single) end

---Removes documents of several queries.
---@param deletes table[]
---@param single? boolean
---@return boolean ok
---@return any why
---@return table result
function collection:safe_batch_delete(deletes, single) end

---Removes documents of a query of BSON.
---@param delete table|userdata
---@return boolean ok
---@return any why
---@return table result
function collection:raw_safe_delete(delete) end

---Finds a document.
---@param query? table
---@param projection? table
---@return table|nil doc
function collection:findOne(query, projection) end

---Finds documents.
---@param query? table
---@param projection? table
---@return skynet.db.mongo.cursor cursor
function collection:find(query, projection) end

---Makes an index.
---@param arg1 table
---@param arg2? table
---@return table result
function collection:createIndex(arg1, arg2) end

---Makes several indexes.
---@param ... table
---@return table result
function collection:createIndexes(...) end

---Removes the collection.
---@return table result
function collection:drop() end

---Removes an index.
---@param indexName string
---@return table result
function collection:dropIndex(indexName) end

---Finds a document and changes it.
---@param doc table
---@return table result
function collection:findAndModify(doc) end

---Runs stages over documents.
---@param pipeline table[]
---@param options? table
---@return skynet.db.mongo.aggregate aggregate
function collection:aggregate(pipeline, options) end

---@class skynet.db.mongo.cursor
local cursor = {}

---Sets the order.
---@param key table
---@param key_v? any
---@param ... any
---@return skynet.db.mongo.cursor cursor
function cursor:sort(key, key_v, ...) end

---Leaves out the first documents.
---@param amount integer
---@return skynet.db.mongo.cursor cursor
function cursor:skip(amount) end

---Sets the most documents.
---@param amount integer
---@return skynet.db.mongo.cursor cursor
function cursor:limit(amount) end

---Names the index to use.
---@param indexName string|table
---@return skynet.db.mongo.cursor cursor
function cursor:hint(indexName) end

---Sets the most milliseconds.
---@param ms integer
---@return skynet.db.mongo.cursor cursor
function cursor:maxTimeMS(ms) end

---Sets how many documents come at once.
---@param size integer
---@return skynet.db.mongo.cursor cursor
function cursor:batchSize(size) end

---Counts the documents.
---@param with_limit_and_skip? boolean
---@return integer count
function cursor:count(with_limit_and_skip) end

---Whether there is another document.
---@return boolean has_next
function cursor:hasNext() end

---The next document.
---@return table|nil doc
function cursor:next() end

---Gives up the rest.
function cursor:close() end

---@class skynet.db.mongo.aggregate: skynet.db.mongo.cursor
local aggregate = {}

---Counts the documents.
---@param with_limit_and_skip? boolean
---@return integer count
function aggregate:count(with_limit_and_skip) end

---Whether there is another document.
---@return boolean has_next
function aggregate:hasNext() end

return mongo
