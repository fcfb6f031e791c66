// Two texts side by side, with what differs marked; long equal parts are folded. In a shadow root,
// as the editor.

import { json } from '@codemirror/lang-json';
import { MergeView } from '@codemirror/merge';
import { EditorState } from '@codemirror/state';
import { EditorView, lineNumbers } from '@codemirror/view';
import { useEffect, useRef } from 'preact/hooks';
import { theme } from './theme';

export interface JsonDiffProps {
  label: string;
  before: string;
  after: string;
}

export function JsonDiff({ label, before, after }: JsonDiffProps) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!host.current) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: 'open' });
    const side = (doc: string, name: string) => ({
      doc,
      extensions: [
        lineNumbers(),
        json(),
        EditorView.lineWrapping,
        EditorState.readOnly.of(true),
        EditorView.contentAttributes.of({ 'aria-label': `${label}, ${name}` }),
        theme,
      ],
    });
    const view = new MergeView({
      a: side(before, 'then'),
      b: side(after, 'now'),
      parent: root,
      root,
      gutter: false,
      collapseUnchanged: { margin: 3, minSize: 6 },
    });
    return () => view.destroy();
  }, [before, after]);
  return <div class="editor diff" ref={host} />;
}
