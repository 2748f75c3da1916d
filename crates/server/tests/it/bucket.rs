//! A store of firmware in memory that is slow, late, or loses its answers, when told.

use futures_util::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart, memory::InMemory, path::Path,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Longer than it takes to come to the store.
const REACHED: Duration = Duration::from_secs(30);

/// What waits in front of it until it is opened.
#[derive(Debug)]
pub(crate) struct Gate {
    open: watch::Sender<bool>,
    came: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            open: watch::Sender::new(true),
            came: watch::Sender::new(0),
        }
    }
}

impl Gate {
    /// From now on everyone waits here.
    pub(crate) fn shut(&self) {
        self.came.send_replace(0);
        self.open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// So many have come since it was shut.
    pub(crate) async fn reached(&self, count: usize) {
        let mut came = self.came.subscribe();
        let reached = came.wait_for(|came| *came >= count);
        let reached = tokio::time::timeout(REACHED, reached).await;
        reached.expect("nobody comes to the store").unwrap();
    }

    async fn pass(&self) {
        self.came.send_modify(|came| *came += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

#[derive(Debug, Default)]
struct Inner {
    objects: InMemory,
    /// In front of questions whether something is there, of the end of uploads, and of removals.
    looks: Gate,
    puts: Gate,
    removals: Gate,
    /// Whether what was done is answered with an error.
    loses: AtomicBool,
    /// Whether removals are done later, and what is to be removed then.
    late: AtomicBool,
    later: Mutex<Vec<Path>>,
    /// What is not removed at all.
    kept: Mutex<BTreeSet<String>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Bucket(Arc<Inner>);

impl std::fmt::Display for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a bucket")
    }
}

/// The line breaks before the answer comes.
fn lost() -> Error {
    Error::Generic {
        store: "bucket",
        source: "the line broke".into(),
    }
}

impl Bucket {
    pub(crate) fn looks(&self) -> &Gate {
        &self.0.looks
    }

    pub(crate) fn puts(&self) -> &Gate {
        &self.0.puts
    }

    pub(crate) fn removals(&self) -> &Gate {
        &self.0.removals
    }

    /// From now on uploads are done, and answered with an error; or not any more.
    pub(crate) fn loses_answers(&self, loses: bool) {
        self.0.loses.store(loses, SeqCst);
    }

    /// From now on removals are answered with an error, and done later; or not any more.
    pub(crate) fn removes_late(&self, late: bool) {
        self.0.late.store(late, SeqCst);
    }

    /// From now on these are not removed, and all others are.
    pub(crate) fn keeps(&self, names: impl IntoIterator<Item = String>) {
        *self.0.kept.lock().unwrap() = names.into_iter().collect();
    }

    /// Does what it was to do later.
    pub(crate) async fn catch_up(&self) -> usize {
        let later = std::mem::take(&mut *self.0.later.lock().unwrap());
        for path in &later {
            self.0.objects.delete(path).await.unwrap();
        }
        later.len()
    }

    /// Everything in it is gone.
    pub(crate) async fn lose(&self) {
        for name in self.names().await {
            self.0.objects.delete(&Path::from(name)).await.unwrap();
        }
    }

    /// What lies in it.
    pub(crate) async fn names(&self) -> Vec<String> {
        let objects = self.0.objects.list(None);
        let names = objects.map(|object| object.unwrap().location.to_string());
        names.collect().await
    }
}

/// An upload to it.
#[derive(Debug)]
struct Upload {
    bucket: Bucket,
    upload: Box<dyn MultipartUpload>,
}

impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    fn complete<'s, 'f>(&'s mut self) -> BoxFuture<'f, Result<PutResult>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async {
            self.bucket.puts().pass().await;
            let done = self.upload.complete().await?;
            match self.bucket.0.loses.load(SeqCst) {
                false => Ok(done),
                true => Err(lost()),
            }
        })
    }

    fn abort<'s, 'f>(&'s mut self) -> BoxFuture<'f, Result<()>>
    where
        's: 'f,
        Self: 'f,
    {
        self.upload.abort()
    }
}

impl ObjectStore for Bucket {
    fn put_opts<'s, 'p, 'f>(
        &'s self,
        location: &'p Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'f, Result<PutResult>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        self.0.objects.put_opts(location, payload, options)
    }

    fn put_multipart_opts<'s, 'p, 'f>(
        &'s self,
        location: &'p Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'f, Result<Box<dyn MultipartUpload>>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        Box::pin(async {
            let upload = self.0.objects.put_multipart_opts(location, options).await?;
            let bucket = self.clone();
            Ok(Box::new(Upload { bucket, upload }) as Box<dyn MultipartUpload>)
        })
    }

    fn get_opts<'s, 'p, 'f>(
        &'s self,
        location: &'p Path,
        options: GetOptions,
    ) -> BoxFuture<'f, Result<GetResult>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        Box::pin(async {
            if options.head {
                self.looks().pass().await;
            }
            self.0.objects.get_opts(location, options).await
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let bucket = self.clone();
        let removed = locations.then(move |location| {
            let bucket = bucket.clone();
            async move {
                let location = location?;
                if bucket.0.late.load(SeqCst) {
                    bucket.0.later.lock().unwrap().push(location);
                    return Err(lost());
                }
                bucket.removals().pass().await;
                if bucket.0.kept.lock().unwrap().contains(location.as_ref()) {
                    return Err(lost());
                }
                bucket.0.objects.delete(&location).await?;
                Ok(location)
            }
        });
        removed.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.objects.list(prefix)
    }

    fn list_with_delimiter<'s, 'p, 'f>(
        &'s self,
        prefix: Option<&'p Path>,
    ) -> BoxFuture<'f, Result<ListResult>>
    where
        's: 'f,
        'p: 'f,
        Self: 'f,
    {
        self.0.objects.list_with_delimiter(prefix)
    }

    fn copy_opts<'s, 'a, 'b, 'f>(
        &'s self,
        from: &'a Path,
        to: &'b Path,
        options: CopyOptions,
    ) -> BoxFuture<'f, Result<()>>
    where
        's: 'f,
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        self.0.objects.copy_opts(from, to, options)
    }
}
