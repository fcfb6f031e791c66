// The JSON editor itself. It lives in a shadow root: there its styles need no exception from the
// page's Content-Security-Policy.

import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { json, jsonParseLinter } from '@codemirror/lang-json';
import { bracketMatching, indentOnInput } from '@codemirror/language';
import { lintGutter, linter, lintKeymap } from '@codemirror/lint';
import { EditorState, Prec, StateEffect } from '@codemirror/state';
import { EditorView, highlightSpecialChars, keymap, lineNumbers } from '@codemirror/view';
import { useEffect, useRef } from 'preact/hooks';
import { schemaComplaints } from './schema';
import { theme } from './theme';

export interface JsonEditorProps {
  label: string;
  /** The text at first; later changes of it are not taken. */
  initial: string;
  onInput: (text: string) => void;
  schema?: unknown;
  /** Told what the schema has against the text, whenever it was checked. */
  onComplaints?: (complaints: string[]) => void;
}

const schemaHasChanged = StateEffect.define();

export function JsonEditor({ label, initial, onInput, schema, onComplaints }: JsonEditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<EditorView>();
  const latest = useRef({ onInput, schema, onComplaints });
  latest.current = { onInput, schema, onComplaints };
  useEffect(() => {
    if (!host.current) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: 'open' });
    const grammar = jsonParseLinter();
    const state = EditorState.create({
      doc: initial,
      extensions: [
        lineNumbers(),
        highlightSpecialChars(),
        history(),
        indentOnInput(),
        bracketMatching(),
        json(),
        lintGutter(),
        linter(
          (view) => {
            const complaints = schemaComplaints(view, latest.current.schema);
            latest.current.onComplaints?.(complaints.map((complaint) => complaint.message));
            return view.state.doc.length === 0 ? [] : [...grammar(view), ...complaints];
          },
          {
            needsRefresh: (update) =>
              update.transactions.some((made) => made.effects.some((effect) => effect.is(schemaHasChanged))),
          },
        ),
        Prec.highest(keymap.of([{ key: 'Mod-Enter', run: () => submitForm(host.current) }])),
        // Tab goes on to the next field, as everywhere: it would be a trap for the keyboard.
        keymap.of([...defaultKeymap, ...historyKeymap, ...lintKeymap]),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ 'aria-label': label }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) latest.current.onInput(update.state.doc.toString());
        }),
        theme,
      ],
    });
    const view = new EditorView({ state, parent: root, root });
    editor.current = view;
    return () => view.destroy();
  }, []);
  useEffect(() => editor.current?.dispatch({ effects: schemaHasChanged.of(null) }), [schema]);
  return <div class="editor" ref={host} />;
}

/** As its button would: the form checks its fields first. */
function submitForm(element: HTMLElement | null): boolean {
  const form = element?.closest('form');
  form?.requestSubmit();
  return form != null;
}
