// All paths of the API that the page knows: those of the document, and those of the session, which
// only browsers use.

import type { paths } from './schema';

interface Session {
  csrfToken: string;
  expiresAt: string;
}

type Reply<T> = { 200: { content: { 'application/json': T } } };

interface SessionPaths {
  '/api/v1/session': {
    get: { responses: Reply<Session> };
    post: {
      requestBody: { content: { 'application/json': { adminKey: string } } };
      responses: Reply<Session>;
    };
    delete: { responses: { 204: { content: never } } };
  };
}

export type Paths = paths & SessionPaths;
