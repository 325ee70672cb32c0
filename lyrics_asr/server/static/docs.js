// The API's description, from /openapi.json.

const root = document.getElementById("operations");

function add(parent, name, text, className = "") {
  const child = document.createElement(name);
  child.textContent = text;
  child.className = className;
  parent.append(child);
  return child;
}

function resolve(document_, schema) {
  const name = schema?.$ref?.split("/").pop();
  return name ? document_.components.schemas[name] : schema;
}

function typeOf(schema) {
  if (schema.const) return schema.const;
  if (schema.enum) return schema.enum.join(", ");
  if (schema.anyOf) return schema.anyOf.map(typeOf).filter((name) => name !== "null").join(" or ");
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.contentMediaType || schema.format === "binary") return "file";
  return schema.type === "array" ? `list of ${typeOf(schema.items)}` : schema.type ?? "any";
}

function fields(document_, operation) {
  const found = (operation.parameters ?? []).map((each) => [each.name, each.schema, each.required, each.description]);
  const content = Object.values(operation.requestBody?.content ?? {})[0];
  const body = resolve(document_, content?.schema);
  for (const [name, schema] of Object.entries(body?.properties ?? {})) {
    found.push([name, schema, body.required?.includes(name), schema.description]);
  }
  return found;
}

function curl(method, path, operation) {
  const words = ["curl", `${location.origin}${path}`];
  if (method !== "get" && method !== "post") words.splice(1, 0, "-X", method.toUpperCase());
  if (operation.requestBody?.content["multipart/form-data"]) {
    words.push("-F file=@song.mp3");
    if (path.endsWith("transcriptions")) words.push("-F model=whisper-1");
    if (path.endsWith("alignments")) words.push("-F 'lyrics=<song.txt'");
  } else if (method === "post") words.splice(1, 0, "-X", "POST");
  return words.join(" ");
}

const description = await (await fetch("/openapi.json")).json();
for (const [path, methods] of Object.entries(description.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const section = add(root, "section", "", "add operation");
    add(section, "h2", `${method.toUpperCase()} ${path}`);
    add(section, "p", operation.description ?? operation.summary);
    const list = add(section, "ul", "");
    for (const [name, schema, isRequired, text] of fields(description, operation)) {
      const item = add(list, "li", "");
      add(item, "code", name);
      const fallback = [undefined, null, ""].includes(schema.default) ? "" : `, default ${schema.default}`;
      add(item, "span", ` ${typeOf(schema)}${isRequired ? ", required" : ""}${fallback}${text ? `: ${text}` : ""}`);
    }
    add(section, "pre", curl(method, path, operation)).tabIndex = 0;
  }
}
