// Requests to the server. It keeps nothing, so every request sends the picture again. An error's message is the server's
// own: it begins with a small letter and has no full stop. See `sentence` and `ended`.

const SILENT = "The server does not answer. Is looktwice still running?";

async function reach(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(SILENT);
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({ error: `The server answered ${response.status}` }));
  throw new Error(error);
}

/** What the server answers, as JSON. */
export async function ask(path) {
  return (await reach(path)).json();
}

/** A file of the server, such as a sample picture. */
export async function download(path, name) {
  const content = await (await reach(path)).blob();
  return new File([content], name, { type: content.type });
}

/** The file that the server makes of a form. */
export async function fileOf(path, form) {
  return (await reach(path, { method: "POST", body: form })).blob();
}

// So the server's messages begin about a picture without a name.
const UNNAMED = "the picture: ";

/** The events of an answer to `POST /api/attend`, each as it comes: waiting, seen, map. An error event is thrown.
 *
 * The picture is sent without its name, so no message names it. Whoever shows the message knows the name better.
 */
export async function* attend(form, signal) {
  form.set("picture", form.get("picture"), "");
  const headers = { Accept: "application/x-ndjson" };
  const response = await reach("api/attend", { method: "POST", body: form, headers, signal });
  for await (const line of lines(response.body)) {
    const { event, ...content } = JSON.parse(line);
    if (event === "end") return;
    if (event === "error") throw new Error(content.error.startsWith(UNNAMED) ? content.error.slice(UNNAMED.length) : content.error);
    yield { event, content };
  }
  throw new Error(SILENT);
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Error(SILENT);
    });
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}
