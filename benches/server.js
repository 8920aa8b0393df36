// A small Node.js API as people write them: reads the body, parses it, answers 202. node server.js PORT
'use strict';
const http = require('node:http');

const server = http.createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    if (request.method !== 'POST' || request.url !== '/events') {
      response.writeHead(404).end();
      return;
    }
    try {
      const event = JSON.parse(Buffer.concat(chunks));
      const body = JSON.stringify({ message: 'accepted', count: Array.isArray(event) ? event.length : 1 });
      response.writeHead(202, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body);
    } catch {
      response.writeHead(400).end();
    }
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
