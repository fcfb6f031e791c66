// What is wrong with JSON text: its grammar, then the task's schema, each said at its place.

import { Validator, type Schema } from '@cfworker/json-schema';
import { syntaxTree } from '@codemirror/language';
import type { Diagnostic } from '@codemirror/lint';
import type { EditorView } from '@codemirror/view';
import type { SyntaxNode } from '@lezer/common';

/** Longer texts are checked by the server only. */
const MAX_CHECKED_CHARS = 1_000_000;
const MAX_SHOWN = 20;

/** Complaints about `view`'s text by a JSON Schema; none while the text is not JSON. */
export function schemaComplaints(view: EditorView, schema: unknown): Diagnostic[] {
  const text = view.state.doc.toString();
  if (text.length > MAX_CHECKED_CHARS || typeof schema !== 'object' || schema === null) return [];
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return [];
  }
  let errors;
  try {
    errors = new Validator(schema as Schema, '2020-12', false).validate(value).errors;
  } catch {
    return [];
  }
  // What only says that something inside is wrong says nothing by itself.
  const telling = errors.filter((error) => !['properties', 'items', '$ref', 'allOf', 'prefixItems'].includes(error.keyword));
  return telling.slice(0, MAX_SHOWN).map((error) => {
    const node = nodeAt(view, error.instanceLocation);
    return {
      from: node?.from ?? 0,
      to: node?.to ?? text.length,
      severity: 'error',
      message: placeOf(error.instanceLocation) + error.error,
    };
  });
}

/** Where in the text, in words: `items/0/price: `. */
function placeOf(pointer: string): string {
  const path = pointer.replace(/^#\/?/, '');
  return path ? `${decodeURIComponent(path)}: ` : '';
}

/** The node of a JSON pointer such as `#/items/0/price`. */
function nodeAt(view: EditorView, pointer: string): SyntaxNode | undefined {
  const keys = pointer
    .split('/')
    .slice(1)
    .map((key) => decodeURIComponent(key).replaceAll('~1', '/').replaceAll('~0', '~'));
  let node: SyntaxNode | null = syntaxTree(view.state).topNode.firstChild;
  for (const key of keys) {
    if (!node) return undefined;
    node = node.name === 'Array' ? elementAt(node, Number(key)) : propertyOf(view, node, key);
  }
  return node ?? undefined;
}

function elementAt(array: SyntaxNode, place: number): SyntaxNode | null {
  const isValue = (node: SyntaxNode) => !['[', ']', ',', '⚠'].includes(node.name);
  let left = place;
  for (let child = array.firstChild; child; child = child.nextSibling) {
    if (isValue(child) && left-- === 0) return child;
  }
  return null;
}

function propertyOf(view: EditorView, object: SyntaxNode, key: string): SyntaxNode | null {
  for (const property of object.getChildren('Property')) {
    const name = property.getChild('PropertyName');
    if (name && view.state.sliceDoc(name.from, name.to) === JSON.stringify(key)) return property.lastChild;
  }
  return null;
}
