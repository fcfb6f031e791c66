// Fields of a form that are folded away at first. A field in it that is wrong opens it: nobody can
// mend what they do not see.

import type { ComponentChildren } from 'preact';
import { useRef } from 'preact/hooks';

export function More({ title, children }: { title: string; children: ComponentChildren }) {
  const frame = useRef<HTMLDetailsElement>(null);
  const open = () => {
    if (frame.current) frame.current.open = true;
  };
  return (
    <details ref={frame} onInvalidCapture={open}>
      <summary>{title}</summary>
      <div class="stack">{children}</div>
    </details>
  );
}
