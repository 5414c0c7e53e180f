// Renders the API's description, /api/schema/, and sends requests that the reader writes. Texts become text
// nodes only, so that nothing in the description is ever taken for markup.

const methods = ["get", "post", "put", "patch", "delete"];

/** Makes an element of attributes and children; a child is a node or a text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return made;
}

/** Follows a reference within the description; what stands beside it counts too. */
function follow(description, node) {
  if (!node?.$ref) return node ?? {};
  const target = node.$ref.slice(2).split("/").reduce((at, key) => at[key], description);
  const { $ref, ...beside } = node;
  return { ...follow(description, target), ...beside };
}

/** Makes an example of a schema: the first it names, or one of its form. */
function example(description, reference) {
  const schema = follow(description, reference);
  if (schema.examples) return schema.examples[0];
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (schema.oneOf) return example(description, schema.oneOf[0]);
  switch ([schema.type].flat()[0]) {
    case "object":
      return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, part]) => [name, example(description, part)]));
    case "array":
      return [example(description, schema.items)];
    case "integer":
    case "number":
      return schema.default ?? schema.minimum ?? 1;
    case "boolean":
      return schema.default ?? true;
    default:
      return schema.type ? "" : {};
  }
}

/** Says in a few words what a value may be. */
function form(schema) {
  const parts = [[schema.type].flat().join(" or ")];
  if (schema.enum) parts.push(schema.enum.join(", "));
  if (schema.minimum !== undefined) parts.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined) parts.push(`to ${schema.maximum}`);
  if (schema.minLength) parts.push(`at least ${schema.minLength} characters`);
  if (schema.maxLength) parts.push(`at most ${schema.maxLength} characters`);
  if (schema.default !== undefined) parts.push(`default ${schema.default}`);
  return parts.filter(Boolean).join(", ");
}

function table(title, rows) {
  if (rows.length === 0) return [];
  return [element("h4", {}, title), element("table", {}, rows.map((row) => element("tr", {}, row.map((cell) => element("td", {}, cell)))))];
}

function parameterRows(description, parameters) {
  return parameters.map((parameter) => [
    element("code", {}, parameter.name), parameter.in, form(follow(description, parameter.schema)), parameter.description ?? "",
  ]);
}

function fieldRows(description, schema) {
  return Object.entries(schema.properties ?? {}).map(([name, reference]) => {
    const field = follow(description, reference);
    const needed = schema.required?.includes(name) ? "required" : "";
    return [element("code", {}, name), needed, form(field), field.description ?? ""];
  });
}

function answers(description, operation) {
  return Object.entries(operation.responses).sort().map(([status, reference]) => {
    const answer = follow(description, reference);
    const schema = answer.content?.["application/json"]?.schema;
    const shown = schema && status < 300
      ? element("pre", {}, JSON.stringify(example(description, schema), null, 2)) : undefined;
    return element("div", {}, element("p", {}, element("code", {}, status), " ", answer.description), shown);
  });
}

/** Makes the form that sends one request, and shows its answer. */
function trial(path, method, parameters, body) {
  const inputs = parameters.map((parameter) => [parameter, element("input", { value: parameter.in === "path" ? "1" : "" })]);
  const text = body && element("textarea", { spellcheck: "false" });
  if (text) text.value = JSON.stringify(body, null, 2);
  const shown = element("pre", { hidden: "" });
  const made = element("form", {},
    inputs.map(([parameter, input]) => element("label", {}, element("code", {}, parameter.name), input)),
    text && element("label", {}, element("code", {}, "body"), text),
    element("button", {}, "Send"));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    shown.hidden = false;
    shown.textContent = await send(path, method, inputs, text?.value);
  });
  return [element("h4", {}, "Try it"), made, shown];
}

async function send(path, method, inputs, body) {
  const headers = {}, query = new URLSearchParams();
  const token = document.querySelector("#token").value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  for (const [parameter, { value }] of inputs) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value && parameter.in === "query") query.set(parameter.name, value);
    else if (value) headers[parameter.name] = value;
  }
  try {
    const answer = await fetch(query.size ? `${path}?${query}` : path, { method: method.toUpperCase(), headers, body, credentials: "omit" });
    const content = await answer.text();
    return `${answer.status} ${answer.statusText}\n\n${pretty(content)}`;
  } catch (failure) {
    return String(failure);
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function operationOf(description, path, method, shared, operation) {
  const parameters = [...shared, ...(operation.parameters ?? [])].map((parameter) => follow(description, parameter));
  const schema = operation.requestBody && follow(description, operation.requestBody.content["application/json"]?.schema);
  const open = (operation.security ?? description.security).length === 0;
  return element("details", { id: operation.operationId },
    element("summary", {}, element("b", { class: "method" }, method.toUpperCase()), element("code", {}, path), element("span", {}, operation.summary)),
    element("p", { class: "quiet" }, open ? "Needs no token." : "Needs a token.", " ", operation.description ?? ""),
    table("Parameters", parameterRows(description, parameters)),
    schema ? table("Body", fieldRows(description, schema)) : [],
    element("h4", {}, "Answers"), answers(description, operation),
    trial(path, method, parameters, schema && example(description, schema)));
}

function render(description) {
  const navigation = document.querySelector("nav"), main = document.querySelector("main");
  const paragraphs = description.info.description.trim().split("\n\n").map((text) => element("p", {}, text));
  main.replaceChildren(
    element("h1", {}, description.info.title), ...paragraphs,
    element("label", {}, "Access token", element("input", { id: "token", autocomplete: "off", placeholder: "for the requests you try here" })));
  for (const tag of description.tags) {
    navigation.append(element("h2", {}, tag.name));
    main.append(element("h2", {}, tag.name), element("p", {}, tag.description));
    for (const [path, item] of Object.entries(description.paths)) {
      for (const method of methods.filter((name) => item[name]?.tags.includes(tag.name))) {
        const operation = item[method];
        navigation.append(element("a", { href: `#${operation.operationId}` }, operation.summary));
        main.append(operationOf(description, path, method, item.parameters ?? [], operation));
      }
    }
  }
  openTarget();
}

/** Opens the operation that the address names. */
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target) return;
  target.open = true;
  target.scrollIntoView();
}

window.addEventListener("hashchange", openTarget);
try {
  const answer = await fetch("/api/schema/", { credentials: "omit" });
  if (!answer.ok) throw new Error(`/api/schema/ answered ${answer.status}`);
  render(await answer.json());
} catch (failure) {
  document.querySelector("main").replaceChildren(element("p", {}, String(failure)));
}
