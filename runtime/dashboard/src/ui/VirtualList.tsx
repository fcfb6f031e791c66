// Rows of one height, of which only those in sight are in the page: ten thousand lines scroll like ten.

import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

interface VirtualListProps<T> {
  label: string;
  rows: readonly T[];
  /** Pixels. */
  rowHeight: number;
  maxHeight: number;
  keyOf: (row: T) => string | number;
  draw: (row: T) => ComponentChildren;
  /** Stays at the end while rows come, unless the reader has scrolled up. */
  follows?: boolean;
  /** Drawn above the rows and scrolled with them sideways only. */
  head?: ComponentChildren;
}

/** Rows above and below those in sight. */
const SPARE = 12;

export function VirtualList<T>({ label, rows, rowHeight, maxHeight, keyOf, draw, follows, head }: VirtualListProps<T>) {
  const frame = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const isAtEnd = useRef(true);
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const scrolled = () => {
      isAtEnd.current = element.scrollTop + element.clientHeight >= element.scrollHeight - rowHeight;
      setTop(element.scrollTop);
    };
    element.addEventListener('scroll', scrolled, { passive: true });
    return () => element.removeEventListener('scroll', scrolled);
  }, [rowHeight]);
  useLayoutEffect(() => {
    if (follows && isAtEnd.current && frame.current) frame.current.scrollTop = frame.current.scrollHeight;
  }, [rows.length, follows]);
  const from = Math.max(0, Math.floor(top / rowHeight) - SPARE);
  const to = Math.min(rows.length, Math.ceil((top + maxHeight) / rowHeight) + SPARE);
  return (
    <div class="virtual" ref={frame} style={{ maxHeight: `${maxHeight}px` }} tabIndex={0} role="group" aria-label={label}>
      {head}
      <div class="virtual-rows" style={{ height: `${rows.length * rowHeight}px` }}>
        <div style={{ transform: `translateY(${from * rowHeight}px)` }}>
          {rows.slice(from, to).map((row) => (
            <div key={keyOf(row)} style={{ height: `${rowHeight}px` }}>
              {draw(row)}
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}
