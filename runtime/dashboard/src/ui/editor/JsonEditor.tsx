// The JSON editor itself. It lives in a shadow root: there its styles need no exception from the
// page's Content-Security-Policy.

import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { json, jsonParseLinter } from '@codemirror/lang-json';
import { bracketMatching, indentOnInput } from '@codemirror/language';
import { lintGutter, linter, lintKeymap } from '@codemirror/lint';
import { EditorState } from '@codemirror/state';
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
}

export function JsonEditor({ label, initial, onInput, schema }: JsonEditorProps) {
  const host = useRef<HTMLDivElement>(null);
  const latest = useRef({ onInput, schema });
  latest.current = { onInput, schema };
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
        linter((view) =>
          view.state.doc.length === 0 ? [] : [...grammar(view), ...schemaComplaints(view, latest.current.schema)],
        ),
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
    return () => view.destroy();
  }, []);
  return <div class="editor" ref={host} />;
}
