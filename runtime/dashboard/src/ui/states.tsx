// What a page shows instead of its content: that it loads, that there is nothing and what to do
// next, or what went wrong.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { ApiFailure } from '../api/client';
import type { Query } from '../core/query';

export function Loading({ rows = 6 }: { rows?: number }) {
  return (
    <div class="loading" role="status" aria-label="Loading" aria-busy={true}>
      {Array.from({ length: rows }, (_, row) => (
        <span key={row} />
      ))}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children && <div>{children}</div>}
    </div>
  );
}

export function Failure({ text, details, retry }: { text: string; details?: readonly string[]; retry?: () => void }) {
  const more = details?.filter((detail) => !text.includes(detail)) ?? [];
  return (
    <div class="failure" role="alert">
      <p>{text}</p>
      {more.length > 0 && (
        <ul>
          {more.map((detail) => (
            <li key={detail}>{detail}</li>
          ))}
        </ul>
      )}
      {retry && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** A refusal beside the button or the form that it is about. */
export function Refusal({ error }: { error: ApiFailure | undefined }) {
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => frame.current?.scrollIntoView({ block: 'nearest' }), [error]);
  return error ? (
    <div ref={frame}>
      <Failure text={error.message} details={error.details} />
    </div>
  ) : null;
}

/** A query's content, once there is some; an older answer stays on the page while asking again fails. */
export function Loaded<T>({ query, children }: { query: Query<T>; children: (data: T) => ComponentChildren }) {
  if (query.data !== undefined) {
    return (
      <>
        {query.error && <Failure text={`This may be old. ${query.error.message}`} retry={query.reload} />}
        {children(query.data)}
      </>
    );
  }
  if (query.error) {
    return <Failure text={query.error.message} details={query.error.details} retry={query.reload} />;
  }
  return <Loading />;
}
