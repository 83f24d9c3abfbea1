// A caller of bitseg that knows only its .proto files. Prints what it got as JSON.
//
// Usage: node client.js PROTO_FOLDER ADDRESS BREAKING_ADDRESS TOKEN

const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");
const { RoaringBitmap32 } = require("roaring");

const [protoFolder, address, breakingAddress, token] = process.argv.slice(2);

const files = ["query", "ingest", "catalog"].map((name) => `bitseg/v1/${name}.proto`);
const definition = protoLoader.loadSync(files, {
  includeDirs: [protoFolder],
  keepCase: true,
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { bitseg } = grpc.loadPackageDefinition(definition);

const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${token}`);

function stub(service, target) {
  return new bitseg.v1[service](target, grpc.credentials.createInsecure());
}

const query = stub("QueryService", address);
const ingest = stub("IngestService", address);
const catalog = stub("CatalogService", address);

function call(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

// The status code that a call fails with.
async function failure(client, method, request) {
  try {
    await call(client, method, request);
  } catch (error) {
    return { code: grpc.status[error.code], details: error.details };
  }
  throw new Error(`${method} did not fail`);
}

// All members, over connections that break: what follows the last page is asked for by its token.
function members(expression) {
  const seen = [];
  let connections = 0;
  let resumeToken = "";
  let total = 0;
  return new Promise((resolve, reject) => {
    function connect() {
      connections += 1;
      const client = stub("QueryService", breakingAddress);
      const stream = client.StreamMembers({ expression, page_size: 100, resume_token: resumeToken }, metadata);
      stream.on("data", (page) => {
        seen.push(...page.user_ids);
        resumeToken = page.resume_token;
        total = page.total;
      });
      // What is told by the status as well; without a listener it would end the program.
      stream.on("error", () => {});
      // "end" comes for streams that broke, too.
      stream.on("status", (status) => {
        client.close();
        if (status.code === grpc.status.OK) resolve({ user_ids: seen, connections, total });
        else if (status.code !== grpc.status.UNAVAILABLE || connections > 100) reject(status);
        else setTimeout(connect, 10);
      });
    }
    connect();
  });
}

function produce(producer, batches) {
  return new Promise((resolve, reject) => {
    const answers = [];
    const stream = ingest.Ingest(metadata);
    stream.on("data", (answer) => {
      answers.push({ last: answer.last_sequence, accepted: answer.result ? answer.result.accepted : 0 });
      if (answers.length === batches.length + 1) stream.end();
    });
    stream.on("error", reject);
    stream.on("end", () => resolve(answers));
    stream.write({ producer });
    batches.forEach((batch, place) => stream.write({ sequence: place + 1, batch }));
  });
}

async function manageCatalog() {
  const created = await call(catalog, "CreateSegment", {
    segment: { name: "From Node", expression: "n   < 10", labels: { team: "node" } },
  });
  const segment = created.segment;
  const updated = await call(catalog, "UpdateSegment", {
    segment: { name: "From Node", description: "Written by Node", etag: segment.etag },
    update_mask: { paths: ["description"] },
  });
  const stale = await failure(catalog, "UpdateSegment", {
    segment: { name: "From Node", description: "Too late", etag: segment.etag },
    update_mask: { paths: ["description"] },
  });
  await call(catalog, "CreateSegment", { segment: { name: "Above", expression: 'in segment "From Node" and n > 2' } });
  const used = await failure(catalog, "DeleteSegment", { name: "From Node" });
  await call(catalog, "RenameSegment", { name: "From Node", new_name: "By Node" });
  const above = await call(catalog, "GetSegment", { name: "Above" });
  const counted = await call(query, "Count", { segment: "Above" });
  const list = await call(catalog, "CreateList", {
    list: { name: "Uploaded" },
    csv: { content: Buffer.from("name,id\nAnn,u1\nBob,u2\nCid,late\n"), user_column: "id" },
  });
  const listed = await call(query, "Count", { expression: 'in list "Uploaded"' });
  const found = await call(catalog, "ListSegments", { name_contains: "NODE", labels: { team: "node" } });
  return {
    expression: segment.expression,
    description: updated.segment.description,
    stale,
    used,
    above: above.segment.expression,
    above_count: counted.count,
    list_size: list.list.size,
    list_count: listed.count,
    found: found.segments.map((each) => each.name),
  };
}

async function main() {
  const count = await call(query, "Count", { expression: "n >= 10" });
  const wrong = await failure(query, "Count", { expression: "n >=" });
  const evaluated = await call(query, "Evaluate", { expression: "n >= 10", sample_size: 3, include_bitmap: true });
  const bitmap = RoaringBitmap32.deserialize(evaluated.bitmap, "portable");
  const streamed = await members("n >= 10");
  const ingested = await produce("node", [
    { operations: [{ track: { user_id: "u1", event: "Bought", properties: { fields: { price: { numberValue: 5 } } } } }] },
    { operations: [{ identify: { user_id: "new", traits: { fields: { n: { numberValue: 3 } } } } }] },
  ]);
  const bought = await call(query, "Count", { expression: 'did "Bought" where price = 5' });
  console.log(
    JSON.stringify({
      count: count.count,
      wrong,
      evaluated: { count: evaluated.count, sample: evaluated.sample_user_ids.length },
      bitmap: bitmap.toArray(),
      streamed,
      ingested,
      bought: bought.count,
      catalog: await manageCatalog(),
    })
  );
  [query, ingest, catalog].forEach((client) => client.close());
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
