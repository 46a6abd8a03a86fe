// Requests to the server that sent this page.
//
//   await get("/api/video", {id})                JSON; throws an Error whose message is the server's words
//   await getBytes("/api/block", {id, start})    ArrayBuffer
//   await post("/api/boxes", {id}, body)         JSON of the answer; the body is sent as JSON with the page's token
//   address("/api/media", {id})                  a path with its query and the page's token, for elements
// Every request has the token. The page has it when it is opened by the printed address, and remembers it for reloads.

const TOKEN = "gazetools-token";
const token = document.querySelector(`meta[name="${TOKEN}"]`)?.content || remembered();

function remembered() {
  try {
    return localStorage.getItem(TOKEN) ?? "";
  } catch {
    return ""; // a browser that keeps nothing
  }
}

try {
  if (token) localStorage.setItem(TOKEN, token);
} catch {
  // then a reload needs the printed address
}

export function address(path, query = {}) {
  return pathOf(path, { ...query, token });
}

function pathOf(path, query = {}) {
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

async function asked(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...options.headers, "x-gazetools-token": token } });
  } catch {
    throw new Error("The server does not answer: has gazetools view ended?");
  }
  return answerOf(response);
}

export async function get(path, query, options) {
  return (await asked(pathOf(path, query), options)).json();
}

export async function getBytes(path, query, options) {
  return (await asked(pathOf(path, query), options)).arrayBuffer();
}

export async function getBlob(path, query, options) {
  return (await asked(pathOf(path, query), options)).blob();
}

export async function post(path, query = {}, body = {}) {
  const headers = { "content-type": "application/json" };
  return (await asked(pathOf(path, query), { method: "POST", headers, body: JSON.stringify(body) })).json();
}
