// JSON Schema, as far as msgspec writes it: resolve a reference, and make up an example.

/** Deepest level of an example; deeper ones of our shapes only repeat. */
const MAX_DEPTH = 6;

const BY_FORMAT = {
  uuid: "00000000-0000-4000-8000-000000000000",
  "date-time": "2026-01-31T12:00:00.000000+00:00",
  uri: "https://example.com/me.png",
};

/** The schema, parameter or response that `$ref` leads to, or the thing itself. */
export function resolve(document, thing) {
  if (!thing?.$ref) return thing;
  const steps = thing.$ref.replace(/^#\//, "").split("/");
  const found = steps.reduce((inner, step) => inner?.[step], document);
  if (!found) throw new Error(`The document refers to ${thing.$ref}, which it does not have.`);
  return resolve(document, found);
}

/** A value that fits the schema, for people to start from. */
export function example(document, schema, depth = 0) {
  const given = resolve(document, schema) ?? {};
  if (given.default !== undefined) return given.default;
  if (given.enum) return given.enum[0];
  const options = given.anyOf ?? given.oneOf;
  if (options) return example(document, options[0], depth);
  if (depth >= MAX_DEPTH) return null;
  if (given.type === "object") return exampleObject(document, given, depth);
  if (given.type === "array") return [example(document, given.items, depth + 1)];
  return { string: BY_FORMAT[given.format] ?? "text", integer: 1, number: 0.5, boolean: true }[given.type] ?? null;
}

function exampleObject(document, schema, depth) {
  const fields = Object.entries(schema.properties ?? {});
  return Object.fromEntries(fields.map(([name, inner]) => [name, example(document, inner, depth + 1)]));
}

/** What a field may hold, in a few words. */
export function inWords(document, schema) {
  const given = resolve(document, schema) ?? {};
  const options = given.anyOf ?? given.oneOf;
  if (options) return options.map((option) => inWords(document, option)).join(" or ");
  if (given.enum) return given.enum.join(" or ");
  const words = [given.format ?? given.type ?? "anything"];
  if (given.minimum !== undefined) words.push(`from ${given.minimum}`);
  if (given.maximum !== undefined) words.push(`to ${given.maximum}`);
  if (given.maxLength !== undefined) words.push(`up to ${given.maxLength} characters`);
  if (given.default !== undefined) words.push(`default ${given.default}`);
  return words.join(" ");
}

/** True for a part of a form that is a file. */
export function isFile(document, schema) {
  return resolve(document, schema)?.format === "binary";
}
