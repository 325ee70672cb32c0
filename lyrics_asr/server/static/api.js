// Requests to the server. With an API key, every request carries it, so there are no cookies.

const KEY = "lyrics-asr-key";

export class RequestError extends Error {}

function headers() {
  const key = localStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

function askForKey() {
  const dialog = document.getElementById("key-dialog");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      localStorage.setItem(KEY, document.getElementById("key").value.trim());
      resolve();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

export async function request(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  if (response.status === 401) {
    await askForKey();
    return request(path, options);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new RequestError(body?.error?.message ?? `the server answered ${response.status}`);
  }
  return response;
}

export async function json(path, options) {
  return (await request(path, options)).json();
}

export function patch(path, content) {
  return json(path, {
    method: "PATCH", body: JSON.stringify(content), headers: { "Content-Type": "application/json" },
  });
}

// Upload with progress, which fetch does not tell.
export function upload(form, onProgress) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("POST", "/v1/jobs");
    for (const [name, value] of Object.entries(headers())) call.setRequestHeader(name, value);
    call.upload.addEventListener("progress", (event) => onProgress(event.loaded / event.total));
    call.addEventListener("error", () => reject(new RequestError("the server cannot be reached")));
    call.addEventListener("load", () => {
      let answer = null;
      try {
        answer = JSON.parse(call.responseText);
      } catch {
        // a proxy's own error page
      }
      if (call.status < 300 && answer) resolve(answer);
      else reject(new RequestError(answer?.error?.message ?? `the server answered ${call.status}`));
    });
    call.send(form);
  });
}

// Server-sent events; EventSource cannot send a key. Connects again after an interruption.
export async function watch(path, onEvent) {
  for (;;) {
    try {
      const reader = (await request(path)).body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        const events = text.split(/\r?\n\r?\n/);
        text = events.pop();
        for (const event of events) {
          const data = event.split(/\r?\n/).filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
          if (data.length) onEvent(JSON.parse(data.join("\n")));
        }
      }
    } catch {
      // the server starts again
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

// Save a result under its name.
export async function download(path) {
  const response = await request(path);
  const disposition = response.headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(disposition);
  const plain = /filename="([^"]+)"/.exec(disposition);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = encoded ? decodeURIComponent(encoded[1]) : plain ? plain[1] : path.split("/").pop();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
