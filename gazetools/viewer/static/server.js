// Requests to the server that sent this page.
//
//   await get("/api/video", {id})                JSON; throws an Error whose message is the server's words
//   await getBytes("/api/block", {id, start})    ArrayBuffer
//   await post("/api/boxes", {id}, body)         JSON of the answer; the body is sent as JSON with the page's token
//   address("/api/media", {id})                  a path with its query, for elements

const token = document.querySelector('meta[name="gazetools-token"]')?.content ?? "";

export function address(path, query = {}) {
  const text = new URLSearchParams(query).toString();
  return text ? `${path}?${text}` : path;
}

async function answerOf(response) {
  if (response.ok) return response;
  let words = `The server answered ${response.status}.`;
  try {
    const type = response.headers.get("content-type") ?? "";
    if (type.includes("json")) {
      const { error } = await response.json();
      words = [error.message, error.hint].filter(Boolean).join(" ");
    } else {
      words = await response.text();
    }
  } catch {
    // the words above are all there is
  }
  throw Object.assign(new Error(words), { status: response.status });
}

async function asked(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer: has gazetools view ended?");
  }
  return answerOf(response);
}

export async function get(path, query, options) {
  return (await asked(address(path, query), options)).json();
}

export async function getBytes(path, query, options) {
  return (await asked(address(path, query), options)).arrayBuffer();
}

export async function getBlob(path, query, options) {
  return (await asked(address(path, query), options)).blob();
}

export async function post(path, query = {}, body = {}) {
  const headers = { "content-type": "application/json", "x-gazetools-token": token };
  return (await asked(address(path, query), { method: "POST", headers, body: JSON.stringify(body) })).json();
}
